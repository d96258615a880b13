"""Benches of what UHLP claims of itself: they compose the real parts and play scripted actors against them."""
