"""The log-in page: plain HTML, so that it costs nothing and needs no script."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>UHLP · log in</title>
<style>
  :root {{ color-scheme: light dark; --ink: #1b2430; --paper: #f5f6f8; --card: #fff; --line: #d8dde5; --key: #2f5d8c; }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --ink: #e6eaf0; --paper: #12161c; --card: #1b2129; --line: #333c48; --key: #7fb0e3; }}
  }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
         color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
  form {{ box-sizing: border-box; width: min(26rem, 92vw); padding: 2rem; background: var(--card);
         border: 1px solid var(--line); border-radius: 10px; }}
  h1 {{ margin: 0 0 .25rem; font-size: 1.25rem; }}
  p {{ margin: 0 0 1.25rem; font-size: .9rem; opacity: .75; }}
  label {{ display: block; font-size: .85rem; margin-bottom: .35rem; }}
  input, button {{ width: 100%; box-sizing: border-box; padding: .6rem .7rem; font: inherit; border-radius: 6px;
                   border: 1px solid var(--line); background: transparent; color: inherit; }}
  button {{ margin-top: 1rem; border: 0; background: var(--key); color: var(--card); font-weight: 600;
            cursor: pointer; }}
  [role=alert] {{ color: #b3402e; opacity: 1; }}
</style>
</head>
<body>
<form method="post" action="/panel/login">
  <h1>UHLP</h1>
  <p>Oversight of applications and their handlers.</p>
  {alert}
  <label for="token">Admin token</label>
  <input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
  <button>Log in</button>
</form>
</body>
</html>
"""


def login_page(refusal: str | None = None) -> bytes:
    """The page; `refusal` says why the last attempt failed."""
    alert = f'<p role="alert">{escape(refusal)}</p>' if refusal else ""
    return _PAGE.format(alert=alert).encode()
