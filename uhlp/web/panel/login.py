"""The log-in page: plain HTML, so that it costs nothing and needs no script."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>UHLP · log in</title>
<style>
  :root {{ color-scheme: light dark; --ink: #18212c; --quiet: #566172; --paper: #f6f7f9; --card: #fff; --line: #dde2e9;
          --accent: #1f5fbf; --accent-ink: #fff; --bad: #b3261e; --bad-soft: #fbe5e3; }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --ink: #e4e9f0; --quiet: #9aa6b6; --paper: #10141a; --card: #181e26; --line: #2b343f;
            --accent: #82b1f5; --accent-ink: #0d1a2c; --bad: #ff9b93; --bad-soft: #3b1a18; }}
  }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
         color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }}
  form {{ box-sizing: border-box; width: min(25rem, 92vw); padding: 1.9rem; background: var(--card);
         border: 1px solid var(--line); border-radius: 12px; }}
  h1 {{ margin: 0 0 .2rem; font-size: 1.5rem; letter-spacing: .02em; }}
  p {{ margin: 0 0 1.4rem; color: var(--quiet); }}
  .hint {{ margin: 1.1rem 0 0; font-size: .85rem; }}
  label {{ display: block; font-size: .85rem; color: var(--quiet); margin-bottom: .3rem; }}
  input, button {{ width: 100%; box-sizing: border-box; padding: .55rem .7rem; font: inherit; border-radius: 7px;
                   border: 1px solid var(--quiet); background: transparent; color: inherit; }}
  button {{ margin-top: 1.1rem; border: 0; background: var(--accent); color: var(--accent-ink); font-weight: 600;
            cursor: pointer; }}
  :focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
  [role=alert] {{ color: var(--bad); background: var(--bad-soft); border-radius: 8px; padding: .55rem .75rem; }}
</style>
</head>
<body>
<main>
<form method="post" action="/panel/login">
  <h1>UHLP</h1>
  <p>What the system did and why, and the way to stop it.</p>
  {alert}
  <label for="token">Admin token</label>
  <input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
  <button>Log in</button>
  <p class="hint">The first one was printed at the first start, and stands in admin_token of the data directory.</p>
</form>
</main>
</body>
</html>
"""


def login_page(refusal: str | None = None) -> bytes:
    """The page; `refusal` says why the last attempt failed."""
    alert = f'<p role="alert">{escape(refusal)}</p>' if refusal else ""
    return _PAGE.format(alert=alert).encode()
