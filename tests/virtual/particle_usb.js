// Particle's own USB library at the boards of a rack: `node particle_usb.js IMAGES` says one line of JSON a board.
// Each board has a process of its own, which is this file again with the board's id.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');
const usb = require(path.join(__dirname, '../clients/node_modules/particle-usb'));

const [images, only] = process.argv.slice(2);
const pause = () => new Promise((resolve) => setTimeout(resolve, 100));

// The board once it is there as wanted; others may come and go meanwhile.
async function opened(wanted) {
	for (let left = 150; ; --left) {
		try {
			const device = await usb.openDeviceById(only);
			if (wanted(device)) {
				return device;
			}
			await device.close();
		} catch (error) {
			if (left === 0) {
				throw error;
			}
		}
		await pause();
	}
}

async function after(device, action, wanted) {
	await action(device).catch((error) => said.errors.push(error.message));
	await device.close().catch(() => {});
	return opened(wanted);
}

// What runs, once it is another start of the board than `boots` before.
async function info(device) {
	const reply = await device.sendControlRequest(10, '{"c":"info"}');
	return reply.data ? JSON.parse(reply.data) : reply.result;
}

async function newer(boots) {
	for (;;) {
		const device = await opened((each) => !each.isInDfuMode);
		try {
			const running = await info(device);
			if (running.boots > boots) {
				return [device, running];
			}
		} catch (_error) {
			// it restarts in this moment
		}
		await device.close().catch(() => {});
		await pause();
	}
}

const said = { errors: [] };
const normal = (device) => !device.isInDfuMode;
const dfu = (device) => device.isInDfuMode;
const image = (name, device) => fs.readFileSync(path.join(images, name, `${device.type}.bin`));

async function visit() {
	let device = await opened(normal);
	Object.assign(said, { id: device.id, type: device.type, version: device.firmwareVersion });
	await device.enterListeningMode();
	said.listening = await device.getDeviceMode();
	await device.leaveListeningMode();
	said.normal = await device.getDeviceMode();
	said.modules = (await device.getFirmwareModuleInfo()).map((each) => `${each.type} ${each.version}`);
	said.unhealthy = (await device.getFirmwareModuleInfo()).filter((each) => each.validityErrors.length).length;
	if (device.isGen3Device) {
		const interfaces = await device.getNetworkInterfaceList();
		said.interfaces = interfaces.map((each) => each.name);
		said.address = (await device.getNetworkInterface({ index: interfaces[0].index })).ipv4Config.addresses;
	} else {
		said.protocol = await device.getServerProtocol();
	}
	device = await after(device, (each) => each.enterDfuMode(), dfu);
	said.dfuVersion = device.firmwareVersion;
	said.protection = await device.getProtectionState();
	said.record = (await device.readOverDfu({ altSetting: 1, startAddr: 3298, size: 91 })).length;
	const blinker = image('blinker@1', device);
	const target = { altSetting: 0, startAddr: blinker.readUInt32LE(0), leave: true };
	device = await after(device, (each) => each.writeOverDfu(blinker, target), normal);
	let running;
	[device, running] = [device, await info(device)];
	said.afterDfu = running.app;
	await device.updateFirmware(image('probe@1', device));
	await device.close();
	[device, running] = await newer(running.boots);
	said.afterUpdate = running.app;
	await device.reset({ force: true }).then(() => { said.forced = 'ok'; }, () => { said.forced = 'error'; });
	await device.close().catch(() => {});
	[device, running] = await newer(running.boots);
	said.afterReset = running.app;
	await device.close();
}

async function everybody() {
	const ids = [];
	for (const device of await usb.getDevices()) {
		await device.open();
		ids.push(device.id);
		await device.close();
	}
	await Promise.all(ids.map((id) => new Promise((resolve) => {
		spawn(process.execPath, [__filename, images, id], { stdio: 'inherit' }).on('close', resolve);
	})));
}

(only ? visit() : everybody()).catch((error) => said.errors.push(error.stack)).finally(() => {
	if (only) {
		console.log(JSON.stringify(said));
	}
	process.exit(0);
});
