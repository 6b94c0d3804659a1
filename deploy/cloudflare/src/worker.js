// Dragoman in Cloudflare Containers: the worker chooses an instance, its Durable Object starts the container, sends it the
// request and lets it sleep when nobody asks. Bodies pass as they come, both ways. docs/how-to/cloudflare.md tells more.
import { DurableObject } from "cloudflare:workers";

const PORT = 8080;
const SIGTERM = 15;
// What the container gets of the worker's secrets and variables, where they are set.
const HANDED_ON = [
  "PROXY_API_KEY",
  "ANTHROPIC_API_KEY",
  "OPENAI_API_KEY",
  "CLAUDE_OAUTH_CREDS",
  "CLAUDE_CODE_OAUTH_TOKEN",
  "DEFAULT_MODEL",
  "LEDGER_URL",
  "LOG_LEVEL",
];
// Headers that name a session, the most exact first; then whoever asks is one.
const SESSIONS = ["x-claude-code-session-id", "session-id", "session_id", "x-session-id"];
const KEYS = ["authorization", "x-api-key", "cf-connecting-ip"];
// Milliseconds between two looks at a container that starts, and at one that may sleep.
const START_PERIOD = 200;
const SLEEP_PERIOD = 30_000;

export default {
  async fetch(request, env) {
    const number = await chooseInstance(request, Number(env.INSTANCES ?? 1));
    return env.GATEWAY.get(env.GATEWAY.idFromName(`gateway-${number}`)).fetch(request);
  },
};

// A session stays with its instance: there lie the responses that it goes on from, and what its upstream has cached.
async function chooseInstance(request, instances) {
  if (!(instances > 1)) return 0;
  const named = [...SESSIONS, ...KEYS].map((name) => request.headers.get(name)).find((value) => value);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(named ?? ""));
  return new DataView(digest).getUint32(0) % instances;
}

export class Gateway extends DurableObject {
  #underWay = 0;
  #lastUse = Date.now();
  #isReady = false;
  #watched = false;

  // The container of this object; tests put another one in its place.
  get container() {
    return this.ctx.container;
  }

  async fetch(request) {
    if (!this.env.PROXY_API_KEY) {
      const remedy = "Set a key that clients must show: npx wrangler secret put PROXY_API_KEY";
      return refuse(request, 500, `This gateway has no client key. ${remedy}`);
    }
    this.#lastUse = Date.now();
    this.#underWay += 1;
    try {
      if (!(await this.#start())) {
        this.#underWay -= 1;
        return refuse(request, 503, "The gateway is starting; ask again in a few seconds.", { "retry-after": "5" });
      }
      const reply = await this.#send(request);
      return this.#follow(reply);
    } catch (error) {
      this.#underWay -= 1;
      this.#isReady = false;
      return refuse(request, 503, `The container does not answer: ${error.message}`, { "retry-after": "5" });
    }
  }

  // Whether the container serves, after at most START_WAIT seconds.
  async #start() {
    const container = this.container;
    if (!container.running) {
      this.#isReady = false;
      const given = HANDED_ON.filter((name) => typeof this.env[name] === "string" && this.env[name]);
      container.start({
        enableInternet: true,
        env: { ...Object.fromEntries(given.map((name) => [name, this.env[name]])), HOST: "0.0.0.0", PORT: String(PORT) },
      });
      this.#watched = false;
      await this.ctx.storage.setAlarm(Date.now() + SLEEP_PERIOD);
    }
    if (!this.#watched) {
      this.#watched = true;
      const ended = () => {
        this.#isReady = this.#watched = false;
      };
      container.monitor().then(ended, ended);
    }
    const end = Date.now() + 1000 * Number(this.env.START_WAIT ?? 10);
    while (!this.#isReady) {
      this.#isReady = await this.#answers();
      if (this.#isReady || Date.now() >= end) break;
      await new Promise((resume) => setTimeout(resume, START_PERIOD));
    }
    return this.#isReady;
  }

  async #answers() {
    try {
      const reply = await this.container.getTcpPort(PORT).fetch("http://container/health/live");
      await reply.body?.cancel();
      return reply.ok;
    } catch {
      return false;
    }
  }

  // The container serves plain HTTP and takes any name, since it asks for a key.
  #send(request) {
    const url = new URL(request.url);
    const sent = new Request(`http://container${url.pathname}${url.search}`, request);
    sent.headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
    return this.container.getTcpPort(PORT).fetch(sent);
  }

  // The reply, counted as under way until its last byte or its client's leaving.
  #follow(reply) {
    const done = () => {
      this.#underWay -= 1;
      this.#lastUse = Date.now();
    };
    if (!reply.body) {
      done();
      return reply;
    }
    const { readable, writable } = new TransformStream();
    this.ctx.waitUntil(reply.body.pipeTo(writable).then(done, done));
    return new Response(readable, reply);
  }

  // Lets the container go when nobody has asked for SLEEP_AFTER seconds; its own streams end first.
  async alarm() {
    if (!this.container.running) return;
    const rests = this.#underWay === 0 && Date.now() - this.#lastUse >= 1000 * Number(this.env.SLEEP_AFTER ?? 300);
    if (rests) {
      this.#isReady = false;
      this.container.signal(SIGTERM);
    }
    await this.ctx.storage.setAlarm(Date.now() + SLEEP_PERIOD);
  }
}

// An error in the dialect of who asks.
function refuse(request, status, message, headers = {}) {
  const isAnthropic = new URL(request.url).pathname.includes("/messages") || request.headers.has("anthropic-version");
  const body = isAnthropic
    ? { type: "error", error: { type: status === 503 ? "overloaded_error" : "api_error", message } }
    : { error: { message, type: "server_error", param: null, code: null } };
  return Response.json(body, { status, headers });
}
