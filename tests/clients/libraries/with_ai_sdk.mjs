// A program with the AI SDK. Takes the gateway's root, a key and an API; prints what three agents came to.

import { readFileSync } from "node:fs";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [root, key, api] = process.argv.slice(2);
const settings = { baseURL: `${root}/v1`, apiKey: key };
const models = {
  messages: () => createAnthropic(settings)("claude-sonnet-4-6"),
  chat: () => createOpenAI(settings).chat("gpt-5.4"),
  responses: () => createOpenAI(settings).responses("gpt-5.4"),
};
const providerOptions = {
  anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } },
  openai: { reasoningEffort: "low" },
};
const reveal = tool({
  description: "Say what a file says.",
  inputSchema: z.object({ path: z.string() }),
  execute: async ({ path }) => readFileSync(path, "utf8"),
});
const City = z.object({ name: z.string(), people: z.number() });

const model = models[api]();
const agent = {
  model,
  system: "Be brief.",
  prompt: "What does the marker say?",
  tools: { reveal },
  stopWhen: stepCountIs(4),
  maxRetries: 0,
  providerOptions,
};

const run = await generateText(agent);
console.log(run.text.trim(), run.totalUsage.totalTokens);

const streamed = streamText({ ...agent, onError: ({ error }) => { throw error; } });
console.log((await streamed.text).trim());

const output = Output.object({ schema: City });
const { output: city } = await generateText({ model, prompt: "Where are we?", output, maxRetries: 0 });
console.log(city.name, city.people);
