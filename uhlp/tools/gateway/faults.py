"""What can be wrong between UHLP and an MCP server, before it becomes an error that somebody is told."""


class ServerFault(Exception):
    """There is no session, or not any more; the text says why, without credentials and without the server's words."""


class SessionLost(ServerFault):
    """The session ended. `may_have_run`: a call in flight may have had its effect."""

    def __init__(self, reason: str, *, may_have_run: bool) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run
