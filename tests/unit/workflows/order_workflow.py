"""A workflow that uses everything once; other tests spoil it."""

ORDER = """\
workflowId: order
description: Takes an order, checks it, and answers.
inputSchema:
  type: object
  properties: {orderId: {type: string}, text: {type: string}, lines: {type: array}}
  required: [orderId, text]
steps:
  - id: parse
    type: jit
    componentId: order-lines
    inputMapping: {text: trigger.input.text, options: {literal: {strict: true}}}
    onSuccess: each
    onFailure:
      - {code: [INPUT_INVALID, OUTPUT_INVALID], next: rejected}
      - {when: error.retryable, next: pause}
    onFailureDefault: rejected
    maxVisits: 3
  - id: pause
    type: control
    control: wait
    durationMs: 1000
    onSuccess: parse
  - id: each
    type: control
    control: loop
    forEach: steps.parse.output.lines
    maxIterations: 50
    steps:
      - id: stock
        type: mcp
        tool: community.warehouse.stock
        inputMapping: {sku: item.sku, position: index}
        timeoutMs: 2000
        retries: {maxAttempts: 3, backoff: {initialMs: 100, factor: 2, maxMs: 1000}, retryOn: [UNAVAILABLE]}
        idempotencyKey: "workflow.runId + ':' + item.sku"
        end: true
    onSuccess: both
    onFailureDefault: rejected
  - id: both
    type: control
    control: parallel
    join: all
    maxConcurrency: 2
    branches:
      summary:
        - {id: summarize, type: llm, componentId: summary, inputMapping: {order: steps.parse.output}, end: true}
      approval:
        - id: ask
          type: control
          control: branch
          cases: [{when: size(steps.each.output) > 10, next: approve}]
          default: skip
        - id: approve
          type: control
          control: wait
          callback: {name: approved, correlation: trigger.input.orderId, timeoutMs: 3600000}
          end: true
        - {id: skip, type: control, control: formatResponse, body: {by: {literal: nobody}}, end: true}
    transitions:
      - {when: "steps.both.output.summary.urgent == true", next: ship}
      - {next: answer}
      - {on: failure, code: DEADLINE_EXCEEDED, next: rejected}
  - id: ship
    type: control
    control: subworkflow
    workflowId: ship
    inputMapping: "{'orderId': trigger.input.orderId}"
    onSuccess: answer
  - id: answer
    type: control
    control: formatResponse
    statusCode: 201
    headers: {X-Order: trigger.input.orderId}
    body: {summary: steps.both.output.summary, stock: steps.each.output, shipped: "steps.ship.status == 'succeeded'"}
    end: true
  - id: rejected
    type: control
    control: formatResponse
    resultFormat: error
    statusCode: 422
    body: {code: {literal: ORDER_REJECTED}, message: "'order ' + trigger.input.orderId + ' was refused'"}
    end: true
"""
