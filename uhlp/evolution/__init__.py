"""Evolution: who decides. Candidates, evidence, the SafetyGovernor, the ledger and the daemon that turns the wheel."""
