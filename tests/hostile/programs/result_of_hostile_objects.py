"""Answer with objects whose every method attacks whoever looks at them."""


class Hostile(dict):
    def attack(self, *arguments, **named):
        while True:
            pass

    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __getitem__ = __bool__ = __call__ = attack
    keys = values = items = get = attack


class Text(str):
    __str__ = __repr__ = __len__ = __eq__ = __hash__ = encode = Hostile.attack


def handle(inputs, context):
    return [Hostile(a=1), Text("x")]
