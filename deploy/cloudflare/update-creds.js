// Puts this machine's Claude login into the worker's secret CLAUDE_OAUTH_CREDS. It shows what it found, never a token.
//
//   node update-creds.js [FILE]     FILE: ~/.claude/.credentials.json, or on macOS the keychain, where none is named
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const FILE = join(process.env.CLAUDE_CONFIG_DIR ?? join(homedir(), ".claude"), ".credentials.json");
const SIGN_IN = "Sign in with `claude`, or with `dragoman login claude`.";

function read(file) {
  try {
    return readFileSync(file ?? FILE, "utf8");
  } catch (error) {
    if (file || process.platform !== "darwin") fail(`${file ?? FILE} cannot be read (${error.code}). ${SIGN_IN}`);
  }
  try {
    const words = ["find-generic-password", "-s", "Claude Code-credentials", "-w"];
    return execFileSync("security", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    fail(`There is no login in ${FILE}, nor in the keychain. ${SIGN_IN}`);
  }
}

// Nested as Claude Code writes it, or flat.
function check(text) {
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    fail("The login is no JSON.");
  }
  const login = told?.claudeAiOauth ?? told;
  const token = login?.accessToken ?? login?.access_token;
  if (typeof token !== "string" || !token) fail(`The login holds no access token. ${SIGN_IN}`);
  const ends = Number(login.expiresAt ?? login.expires_at ?? 0);
  const renews = Boolean(login.refreshToken ?? login.refresh_token);
  if (ends && ends < Date.now() && !renews) fail(`The login has ended, and cannot be renewed. ${SIGN_IN}`);
  return { ends, renews };
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const text = read(process.argv[2]);
const { ends, renews } = check(text);
console.log(`A login until ${ends ? new Date(ends).toISOString() : "an unknown time"}, ${renews ? "renewed" : "not renewed"} by itself.`);
// By its standard input: an argument could be read by every user of the machine.
const wrangler = process.env.WRANGLER ?? "npx";
const words = process.env.WRANGLER ? [] : ["wrangler"];
const done = spawnSync(wrangler, [...words, "secret", "put", "CLAUDE_OAUTH_CREDS"], {
  input: JSON.stringify(JSON.parse(text)),
  stdio: ["pipe", "inherit", "inherit"],
});
process.exit(done.status ?? 1);
