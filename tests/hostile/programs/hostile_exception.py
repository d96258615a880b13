"""Raise what attacks whoever reads it: its words, its type, its traceback, its attributes."""


class Meta(type):
    @property
    def __name__(cls):
        raise SystemExit

    def __instancecheck__(cls, instance):
        raise SystemExit


class Hostile(Exception, metaclass=Meta):
    def __str__(self):
        raise self

    __repr__ = __str__

    @property
    def __class__(self):
        raise SystemExit

    @property
    def __traceback__(self):
        raise SystemExit

    @property
    def reason(self):
        raise SystemExit


def handle(inputs, context):
    raise Hostile
