"""Prices an order. Amounts are whole cents."""

from typing import Any

SHIPPING_CENTS = {"express": 1500, "fragile": 900, "gift": 690, "standard": 490}
FREE_FROM_CENTS = 5000
"""Standard parcels are free from here on."""


def handle(inputs: dict[str, Any], context: dict[str, Any]) -> dict[str, int]:
    """{"subtotalCents", "discountCents", "shippingCents", "totalCents"}: 5 % off from ten pieces on."""
    pieces = sum(item["quantity"] for item in inputs["items"])
    subtotal = sum(item["quantity"] * item["unitPriceCents"] for item in inputs["items"])
    discount = subtotal * 5 // 100 if pieces >= 10 else 0
    shipping = SHIPPING_CENTS[inputs["handling"]]
    if inputs["handling"] == "standard" and subtotal - discount >= FREE_FROM_CENTS:
        shipping = 0
    return {
        "subtotalCents": subtotal,
        "discountCents": discount,
        "shippingCents": shipping,
        "totalCents": subtotal - discount + shipping,
    }
