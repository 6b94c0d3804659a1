// Runs deploy/cloudflare/src/worker.js in workerd, with a container that is a gateway on this machine.
//
//   node serve.mjs MINIFLARE WORKER GATEWAY_PORT BINDINGS
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, worker, port, bindings] = process.argv.slice(2);
const { Miniflare } = await import(pathToFileURL(`${folder}/node_modules/miniflare/dist/src/index.js`));

// As Durable Object Container API: start, running, getTcpPort, monitor, signal. It "boots" for BOOT milliseconds.
const ENTRY = `
import worker, { Gateway as Real } from "./worker.js";
export default worker;
export class Gateway extends Real {
  #log = { starts: [], signals: [], running: false, since: 0 };
  #ended;
  get container() {
    const log = this.#log, local = this.env.LOCAL, boot = Number(this.env.BOOT ?? 0);
    return {
      get running() { return log.running; },
      start: (options) => { log.running = true; log.since = Date.now(); log.starts.push(options); },
      monitor: () => new Promise((resolve) => { this.#ended = resolve; }),
      signal: (number) => { log.signals.push(number); log.running = false; this.#ended?.(); },
      getTcpPort: (number) => ({
        fetch: async (input, init) => {
          if (!log.running || Date.now() - log.since < boot) throw new Error("the container is not listening");
          log.port = number;
          return local.fetch(input, init);
        },
      }),
    };
  }
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/test/log") return Response.json({ ...this.#log, id: this.ctx.id.name });
    if (pathname === "/test/alarm") { await this.alarm(); return Response.json(this.#log); }
    return super.fetch(request);
  }
}`;

const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  modules: [
    { type: "ESModule", path: "entry.js", contents: ENTRY },
    { type: "ESModule", path: "worker.js", contents: readFileSync(worker, "utf8") },
  ],
  compatibilityDate: "2026-04-01",
  durableObjects: { GATEWAY: { className: "Gateway", useSQLite: true } },
  serviceBindings: { LOCAL: { external: { address: `127.0.0.1:${port}`, http: {} } } },
  bindings: JSON.parse(bindings),
});
console.log(String(await miniflare.ready));
process.on("SIGTERM", () => miniflare.dispose().then(() => process.exit(0)));
