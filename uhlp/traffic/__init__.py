"""Traffic: what components were asked and what they answered."""
