-- wrk: posts one JSON body over and over and prints what came of it as one line of JSON.
-- Arguments: the body, the bearer token. Latencies are in microseconds. MCP asks for Accept, and an administrator names
-- an application; nobody else looks at either.
local body
function init(args)
  body = args[1]
  wrk.method = "POST"
  wrk.body = body
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json"
  wrk.headers["X-App-Id"] = "bench"
  wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
