// One question to a model through its official client; one line of JSON about what the client made of the answer.
//
// agent.mjs (chat|responses|anthropic) MODEL PROMPT [--stream] [--tool NAME] [--upload BYTES]
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// The packages lie in the machine's cache, not beside this file.
const installed = createRequire(`${process.env.CLIENTS}/`);
const OpenAI = installed("openai").OpenAI;
const Anthropic = installed("@anthropic-ai/sdk").Anthropic;

const { positionals, values: args } = parseArgs({
  allowPositionals: true,
  options: { stream: { type: "boolean" }, tool: { type: "string" }, upload: { type: "string" } },
});
const [api, model, prompt] = positionals;
const result = { text: "", thinking: "", calls: [], usage: null, attempts: 0, error: null };
const counted = (...call) => {
  result.attempts += 1;
  return fetch(...call);
};
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
// A conversation that carries a large document before the question.
const upload = "lorem ipsum ".repeat(Math.floor(Number(args.upload ?? 0) / 12));
const noted = [
  { role: "user", content: upload },
  { role: "assistant", content: "Noted." },
];
const messages = [...(upload ? noted : []), { role: "user", content: prompt }];

async function chat() {
  const ai = new OpenAI({ fetch: counted, timeout: 30_000 });
  const tools = args.tool ? [{ type: "function", function: { name: args.tool, parameters: schema } }] : undefined;
  if (!args.stream) {
    const answer = await ai.chat.completions.create({ model, messages, tools });
    const { message } = answer.choices[0];
    result.text = message.content ?? "";
    result.calls = (message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]);
    result.usage = answer.usage ?? null;
    return;
  }
  for await (const chunk of await ai.chat.completions.create({ model, messages, tools, stream: true })) {
    result.usage = chunk.usage ?? result.usage;
    for (const { delta } of chunk.choices) {
      result.text += delta.content ?? "";
      for (const call of delta.tool_calls ?? []) {
        if (call.function.name) result.calls.push([call.function.name, ""]);
        result.calls.at(-1)[1] += call.function.arguments ?? "";
      }
    }
  }
}

async function responses() {
  const ai = new OpenAI({ fetch: counted, timeout: 30_000 });
  const tools = args.tool ? [{ type: "function", name: args.tool, parameters: schema, strict: false }] : undefined;
  let answer = null;
  if (args.stream) {
    for await (const event of await ai.responses.create({ model, input: messages, tools, stream: true })) {
      if (event.type === "response.output_text.delta") result.text += event.delta;
      if (event.type === "response.reasoning_summary_text.delta") result.thinking += event.delta;
      if (event.type === "response.completed") answer = event.response;
      if (event.type === "error" || event.type === "response.failed") throw new Error(JSON.stringify(event));
    }
  } else {
    answer = await ai.responses.create({ model, input: messages, tools });
    result.text = answer.output_text;
  }
  if (answer) {
    const calls = answer.output.filter((item) => item.type === "function_call");
    result.calls = calls.map((item) => [item.name, item.arguments]);
    result.usage = answer.usage ?? null;
  }
}

async function anthropic() {
  const ai = new Anthropic({ fetch: counted, timeout: 30_000 });
  const tools = args.tool ? [{ name: args.tool, input_schema: schema }] : undefined;
  const ask = { model, max_tokens: 200, messages, tools };
  let answer;
  if (args.stream) {
    const stream = ai.messages.stream(ask);
    for await (const event of stream) {
      if (event.type !== "content_block_delta") continue;
      if (event.delta.type === "text_delta") result.text += event.delta.text;
      if (event.delta.type === "thinking_delta") result.thinking += event.delta.thinking;
    }
    answer = await stream.finalMessage();
  } else {
    answer = await ai.messages.create(ask);
    result.text = answer.content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
  }
  const calls = answer.content.filter((block) => block.type === "tool_use");
  result.calls = calls.map((block) => [block.name, JSON.stringify(block.input)]);
  result.usage = answer.usage;
}

try {
  await { chat, responses, anthropic }[api]();
} catch (error) {
  result.error = { class: error.constructor.name, status: error.status ?? null, message: error.message };
}
console.log(JSON.stringify(result));
