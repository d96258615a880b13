"""What models took in dollars, where only a sum was kept."""

from typing import TYPE_CHECKING

from uhlp.cli.output import cost

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient


def cost_in(client: "AdminClient", app_id: str, usd: float, *, tokens: int) -> str | None:
    """`usd` as text. Whether no dollars are free or unknown is told by the application's calls without a price."""
    usage = client.find(f"/apps/{app_id}/usage") if tokens and not usd else None
    return cost(usd, tokens=tokens, unpriced_calls=usage["total"]["unpricedCalls"] if usage else None)
