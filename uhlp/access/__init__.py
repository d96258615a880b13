"""Access: who may administer a server, and as what; and which execution a sandbox speaks for."""
