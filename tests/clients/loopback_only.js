// Loaded before a client (node --require): any connection that would leave this machine is refused and noted.
'use strict';
const fs = require('fs');
const net = require('net');
const dns = require('dns');
const LOCAL = new Set(['127.0.0.1', '::1', 'localhost', undefined]);

function refuse(what) {
	fs.appendFileSync(process.env.HIL_OUTSIDE_LOG, `${what}\n`);
	return Object.assign(new Error(`refused: ${what} is outside of this machine`), { code: 'ECONNREFUSED' });
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function guarded(...args) {
	const options = Array.isArray(args[0]) ? args[0][0] : args[0];
	const host = options && typeof options === 'object' ? options.host : args[1];
	if (!LOCAL.has(host)) {
		process.nextTick(() => this.destroy(refuse(host)));
		return this;
	}
	return connect.apply(this, args);
};

const lookup = dns.lookup;
dns.lookup = function guarded(host, ...rest) {
	if (!LOCAL.has(host)) {
		const callback = rest[rest.length - 1];
		const error = refuse(host);
		process.nextTick(() => callback(error));
		return undefined;
	}
	return lookup.call(this, host, ...rest);
};
