// This file is the bare Node pass-through: the least that Node can do between a client and an upstream.
'use strict';
const http = require('node:http');

const [port, upstreamPort] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 4096 });

const server = http.createServer((request, response) => {
  const { method, url: path, headers } = request;
  const onward = http.request({ host: '127.0.0.1', port: upstreamPort, method, path, headers, agent }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => response.writableFinished || onward.destroy());
  request.pipe(onward);
});
server.keepAliveTimeout = 75_000;
server.listen(port, '127.0.0.1', 4096);
