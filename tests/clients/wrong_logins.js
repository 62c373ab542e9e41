// Eleven logins with a wrong password at the cloud at argv[2] as the user argv[3]; prints the status of each.
'use strict';
const Particle = require('particle-api-js');

const [url, username] = process.argv.slice(2);
const particle = new Particle({ baseUrl: url });

async function main() {
	for (let count = 0; count < 11; count++) {
		try {
			await particle.login({ username, password: 'wrong' });
			console.log('no error');
		} catch (error) {
			console.log(error.statusCode);
		}
	}
}

main();
