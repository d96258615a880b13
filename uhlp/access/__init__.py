"""Access: who may administer a server, and as what."""
