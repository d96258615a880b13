"""Answer with a coroutine."""


async def handle(inputs, context):
    return 1
