#!/bin/sh
# Sec-Fetch-Mode does not tell a browser from a server. Node.js's fetch and EventSource send `sec-fetch-mode: cors`,
# its WebSocket `sec-fetch-mode: websocket`, and neither sends Origin, Sec-Fetch-Site or Sec-Fetch-Dest, which
# browsers always send with it. Who refuses "requests with fetch metadata" to keep pages out refuses backends.
# Seen with undici 7.16.0 (the library behind Node.js's fetch) on Node.js 20.20.2 and 20's own fetch.
# Exits non-zero if this changes. Needs node and npm.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund undici@7.16.0
cat >look.mjs <<'JS'
import http from 'node:http'
import { WebSocket, fetch as undici } from 'undici'

const seen = []
const told = (request) => {
  const names = ['origin', 'sec-fetch-mode', 'sec-fetch-site', 'sec-fetch-dest', 'sec-fetch-user']
  seen.push(Object.fromEntries(names.filter((n) => n in request.headers).map((n) => [n, request.headers[n]])))
}
const server = http.createServer((request, response) => { told(request); response.end('ok') })
server.on('upgrade', (request, socket) => { told(request); socket.destroy() })
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const address = `127.0.0.1:${server.address().port}/`
await (await fetch(`http://${address}`)).text()
await (await undici(`http://${address}`)).text()
await new Promise((closed) => { new WebSocket(`ws://${address}`).onclose = closed })
server.close()
console.log(`Node.js ${process.version}: fetch, undici's fetch, undici's WebSocket sent`)
console.log(JSON.stringify(seen))
const expected = [{ 'sec-fetch-mode': 'cors' }, { 'sec-fetch-mode': 'cors' }, { 'sec-fetch-mode': 'websocket' }]
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1)
JS
node look.mjs
