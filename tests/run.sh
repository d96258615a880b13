#!/bin/sh
# Passes the tests: makes a venv, installs UHLP from its lock, gets what the tests need through apt when it runs as root
# and something is missing, runs everything. Tests start their servers on private ports and stop them again.
#   sh tests/run.sh              everything that takes under a minute
#   sh tests/run.sh --long       soaks, benches and long simulations as well
#   sh tests/run.sh --prepare    only the venv
#   sh tests/run.sh -k words …   the rest goes to pytest
set -eu
cd "$(dirname "$0")/.."

missing=""
command -v git >/dev/null || missing="$missing git"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v bwrap >/dev/null || missing="$missing bubblewrap"
command -v chromium >/dev/null || missing="$missing chromium"
case " $* " in *" --long "*) command -v wrk >/dev/null || missing="$missing wrk" ;; esac
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # A package that starts a service must not: the tests run their own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
  else
    echo "missing, tests that need them are skipped:$missing"
  fi
fi
[ "$(id -u)" = 0 ] && : "${UHLP_REQUIRE_SERVICES:=1}" && export UHLP_REQUIRE_SERVICES

venv=.venv-test
stamp="$venv/installed-$(cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps -e .
  touch "$stamp"
fi

select='not long'
for argument in "$@"; do
  shift
  case "$argument" in
    --prepare) exit 0 ;;
    --long) select='long or not long' ;;
    *) set -- "$@" "$argument" ;;
  esac
done
"$venv/bin/python" -m pytest -m "$select" "$@"
