"""Example applications, traffic for them, and a simulated model server. Everything in here is simulated and says so."""
