// One session with particle-api-js against the cloud at argv[2], printed as one JSON object per step.
// Arguments: url, user, password, device id, firmware file.
'use strict';
const Particle = require('particle-api-js');

const [url, username, password, deviceId, firmware] = process.argv.slice(2);
const particle = new Particle({ baseUrl: url });

function say(step, value) {
	process.stdout.write(`${JSON.stringify({ step, value })}\n`);
}

async function failing(step, promise) {
	try {
		await promise;
		say(step, 'no error');
	} catch (error) {
		say(step, {
			statusCode: error.statusCode,
			body: error.body,
			shortErrorDescription: error.shortErrorDescription,
		});
	}
}

async function streaming(auth) {
	const stream = await particle.getEventStream({ deviceId: 'mine', name: 'garden', auth });
	const heard = new Promise((resolve) => stream.once('event', resolve));
	const published = await particle.publishEvent({ name: 'garden/gate', data: 'open', isPrivate: true, auth });
	say('publish', published.body);
	say('event', await heard);
	stream.abort();
}

async function devices(auth) {
	const body = async (promise) => (await promise).body;
	say('devices', await body(particle.listDevices({ auth })));
	say('device', await body(particle.getDevice({ deviceId, auth })));
	say('call', await body(particle.callFunction({ deviceId, name: 'led', argument: 'on', auth })));
	say('variable', await body(particle.getVariable({ deviceId, name: 'temperature', auth })));
	say('signal', await body(particle.signalDevice({ deviceId, signal: true, auth })));
	say('ping', await body(particle.put({ uri: `/v1/devices/${deviceId}/ping`, auth })));
	say('rename', await body(particle.renameDevice({ deviceId, name: 'gatepost', auth })));
	await failing('unknown function', particle.callFunction({ deviceId, name: 'nothing', argument: '', auth }));
	await failing('unknown variable', particle.getVariable({ deviceId, name: 'nothing', auth }));
	await failing('unknown route', particle.request({ uri: '/v1/nothing', method: 'get', auth }));
	say('flash', await body(particle.flashDevice({ deviceId, files: { file: firmware }, auth })));
}

async function main() {
	await failing('wrong password', particle.login({ username, password: `not ${password}` }));
	const login = await particle.login({ username, password });
	const auth = login.body.access_token;
	say('login', { ...login.body, access_token: auth.length, refresh_token: login.body.refresh_token.length });
	say('user', (await particle.getUserInfo({ auth })).body);
	say('token', (await particle.get({ uri: '/v1/access_tokens/current', auth })).body);
	await streaming(auth);
	await devices(auth);
	say('logout', (await particle.deleteAccessToken({ token: auth })).body);
	await failing('after logout', particle.listDevices({ auth }));
}

// An aborted stream keeps its 15 s timer, and with it the process: leave by the door.
main().then(
	() => process.exit(0),
	(error) => {
		process.stderr.write(`${error.stack}\n${JSON.stringify(error.body || null)}\n`);
		process.exit(1);
	},
);
