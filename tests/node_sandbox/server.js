/* An example of a sandbox image that users make themselves: handlers in JavaScript, Node.js alone, no packages.
 *
 * It serves what UHLP asks of an image that speaks HTTP (schemas/execute_request, execute_response, execute_fault):
 *   GET /healthz               200 as soon as it can take calls
 *   PUT /artifacts/<sha256>    the bytes of one file, kept under their hash; 204
 *   POST /execute              an ExecuteRequest; 200 with an ExecuteResponse, or an ExecuteFault {code, message, ...}:
 *                              400 not for this image, 409 ARTIFACT_MISSING with `sha256`, 429 full, 500 handler failed
 * UHLP gives it PORT, and UHLP_TOKEN that every call must bring as `Authorization: Bearer`.
 *
 * A handler is a module: `module.exports.handle = (inputs, context) => result`, which may return a promise. An error
 * whose name is "Deoptimize" hands the request to the model. Where UHLP gave the call an address and a token,
 * `await context.callTool(name, arguments)` calls a tool that the component may use, over MCP. Each handler runs in a thread of its own, because only a
 * thread can be ended while it computes; the thread serves that handler alone, so that none finds what another left.
 * The walls are the container's: this server trusts its handlers as little as UHLP trusts this server.
 */
"use strict";
const { createHash, timingSafeEqual } = require("node:crypto");
const { createServer } = require("node:http");
const Module = require("node:module");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_CALLS = Number(process.env.MAX_CALLS || 8);
const MAX_ARTIFACTS = 100;
const GRACE_MS = 250; // UHLP keeps the deadline itself; what it has given up is ended here a little later

class Fault extends Error {
  constructor(status, code, message, more = {}) {
    super(message);
    Object.assign(this, { status, body: { code, message: message.slice(0, 2000), ...more } });
  }
}

// In a handler's thread: load it once, then answer one call after another.

function serveHandler({ source, path, name }) {
  const module = new Module(path);
  module.paths = []; // nothing to require but what Node.js brings
  module._compile(source, path);
  const handle = module.exports[name];
  if (typeof handle !== "function") throw new TypeError(`${path} exports no function ${name}`);
  parentPort.on("message", async ({ inputs, context }) => {
    try {
      const given = context.mcpToken ? { ...context, callTool: toolCaller(context) } : context;
      parentPort.postMessage({ json: strictJson(await handle(inputs, given)) });
    } catch (error) {
      if (error?.name === "Deoptimize") parentPort.postMessage({ reason: String(error.message) });
      else if (error instanceof NotJson) parentPort.postMessage({ invalid: error.message });
      else parentPort.postMessage({ failed: String(error?.message ?? error), stack: String(error?.stack ?? "") });
    }
  });
}

// One POST a call: the server keeps no session, and its answer is JSON.
function toolCaller({ mcpEndpoint, mcpToken }) {
  const headers = {
    Authorization: `Bearer ${mcpToken}`,
    "Content-Type": "application/json",
    Accept: "application/json, text/event-stream",
  };
  return async (name, args = {}) => {
    const params = { name, arguments: args };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
    const { result, error } = await (await fetch(`${mcpEndpoint}/mcp`, { method: "POST", headers, body })).json();
    if (error || result.isError) {
      const { code, message } = error ?? result.structuredContent.error;
      throw Object.assign(new Error(message), { code });
    }
    return result.structuredContent;
  };
}

class NotJson extends Error {}

function strictJson(value) {
  const json = JSON.stringify(value ?? null, (key, each) => {
    if (typeof each === "number" && !Number.isFinite(each)) throw new NotJson(`${each} is not JSON`);
    return each;
  });
  if (json === undefined) throw new NotJson(`a ${typeof value} is not JSON`);
  if (Buffer.byteLength(json) > MAX_BODY_BYTES) throw new NotJson("the result is larger than 10 MiB");
  return json;
}

// In the main thread: the protocol.

const artifacts = new Map();
const idle = new Map(); // threads that wait for their next call, by the handler they serve
let calls = 0;

function start(kind, workerData) {
  const thread = new Worker(__filename, { workerData, env: {} });
  thread.on("message", (answer) => {
    idle.set(kind, [...(idle.get(kind) ?? []), thread]);
    thread.settle(answer);
  });
  thread.on("error", (error) => {
    const outOfMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
    thread.settle(outOfMemory ? { outOfMemory } : { failed: String(error.message), stack: String(error.stack) });
  });
  thread.on("exit", () => {
    idle.set(kind, (idle.get(kind) ?? []).filter((each) => each !== thread));
    thread.settle({ failed: "The handler ended its thread, or was ended at its deadline.", stack: "" });
  });
  return thread;
}

async function run({ context, requestData }, outgoing) {
  const { sha256, path } = context.task.artifact;
  const source = artifacts.get(sha256);
  if (source === undefined) throw new Fault(409, "ARTIFACT_MISSING", `${path} is needed`, { sha256 });
  const name = context.task.function ?? "handle";
  const kind = `${sha256} ${name}`;
  const thread = idle.get(kind)?.pop() ?? start(kind, { source, path, name });
  const end = () => outgoing.writableFinished || thread.terminate();
  const timer = setTimeout(end, context.deadlineMs + GRACE_MS);
  outgoing.once("close", end); // the caller waits no longer
  const answered = new Promise((resolve) => (thread.settle = resolve));
  thread.postMessage({ inputs: requestData.input, context });
  return answered.finally(() => clearTimeout(timer));
}

async function execute(request, outgoing) {
  if (request?.context?.handlerType !== "JIT") throw new Fault(400, "BAD_REQUEST", "Only JIT handlers run here.");
  if (calls >= MAX_CALLS) throw new Fault(429, "NO_SANDBOX_AVAILABLE", "Every thread is busy.");
  const started = performance.now();
  calls += 1;
  const answer = await run(request, outgoing).finally(() => (calls -= 1));
  if (answer.failed !== undefined) {
    const traceback = answer.stack.split("\n").filter((line) => !line.includes("node:") && !line.includes(__filename));
    throw new Fault(500, "HANDLER_FAILED", answer.failed, { traceback: traceback.join("\n") });
  }
  const error = (code, message) => ["error", JSON.stringify({ code, message })];
  let [resultType, data] = ["generic", answer.json];
  if (answer.reason !== undefined) [resultType, data] = ["deoptimize", JSON.stringify({ reason: answer.reason })];
  if (answer.invalid !== undefined) [resultType, data] = error("OUTPUT_INVALID", answer.invalid);
  if (answer.outOfMemory) [resultType, data] = error("SANDBOX_OUT_OF_MEMORY", "The handler ran out of memory.");
  const metrics = JSON.stringify({ executionTimeMs: performance.now() - started, mcpCalls: [] });
  const requestId = JSON.stringify(request.requestId);
  return `{"requestId":${requestId},"resultType":"${resultType}","data":${data},"metrics":${metrics}}`;
}

function keep(sha256, content) {
  if (createHash("sha256").update(content).digest("hex") !== sha256) throw new Fault(400, "BAD_REQUEST", "wrong hash");
  if (artifacts.size >= MAX_ARTIFACTS) artifacts.delete(artifacts.keys().next().value); // asked for again when needed
  artifacts.set(sha256, content.toString());
}

async function read(incoming) {
  const chunks = [];
  let size = 0;
  for await (const chunk of incoming) {
    if ((size += chunk.length) > MAX_BODY_BYTES) throw new Fault(400, "PAYLOAD_TOO_LARGE", "more than 10 MiB");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function answer(incoming, outgoing) {
  const [, folder, sha256] = incoming.url.split("/");
  if (incoming.method === "GET" && folder === "healthz") return [200, '{"status":"ok"}'];
  const [given, token] = [incoming.headers.authorization ?? "", `Bearer ${process.env.UHLP_TOKEN}`].map(digest);
  if (process.env.UHLP_TOKEN && !timingSafeEqual(given, token)) throw new Fault(401, "UNAUTHORIZED", "wrong token");
  if (incoming.method === "PUT" && folder === "artifacts") return [204, keep(sha256, await read(incoming))];
  if (incoming.method !== "POST" || folder !== "execute") throw new Fault(404, "NOT_FOUND", "nothing here");
  const body = await read(incoming);
  return [200, await execute(parse(body), outgoing)];
}

function parse(body) {
  try { return JSON.parse(body); } catch (error) { throw new Fault(400, "MALFORMED_JSON", error.message); }
}

const digest = (text) => createHash("sha256").update(text).digest();

function serve() {
  const server = createServer(async (incoming, outgoing) => {
    const [status, body] = await answer(incoming, outgoing).catch((error) => {
      const fault = error instanceof Fault ? error : new Fault(500, "INTERNAL_ERROR", String(error));
      return [fault.status, JSON.stringify(fault.body)];
    });
    const headers = { "Content-Type": "application/json", ...(status === 429 && { "Retry-After": "1" }) };
    outgoing.writeHead(status, headers).end(body);
  });
  server.keepAliveTimeout = 60_000;
  server.listen(Number(process.env.PORT || 8080), process.env.HOST || "0.0.0.0", () => {
    console.log(`listening on ${server.address().port}`);
  });
}

if (isMainThread) serve();
else serveHandler(workerData);
