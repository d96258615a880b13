#!/bin/sh
# Passes the tests: makes a venv, installs UHLP from its lock, gets what the tests need through apt when it runs as root
# and something is missing, runs everything. Tests start their servers on private ports and stop them again.
#   sh tests/run.sh              everything that takes under a minute
#   sh tests/run.sh --long       soaks, benches and long simulations as well
#   sh tests/run.sh --prepare    only the programs and the venv
#   sh tests/run.sh -k words …   the rest goes to pytest
set -eu
cd "$(dirname "$0")/.."

long=no prepare=no
for argument in "$@"; do
  shift
  case "$argument" in
    --long) long=yes ;;
    --prepare) prepare=yes ;;
    *) set -- "$@" "$argument" ;;
  esac
done

# The first Python that is new enough.
python_is_there() {
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  return 1
}

# A snap is confined and cannot use the tests' profiles.
chromium_is_there() {
  case "$(command -v chromium)" in "" | /snap/*) return 1 ;; esac
}

is_ubuntu() { grep -q '^ID=ubuntu$' /etc/os-release 2>/dev/null; }

# Packages whose programs are not here: those that apt can bring, and the one that Ubuntu only has as a snap.
look_for_missing() {
  missing="" only_as_snap=""
  if ! python_is_there; then missing="python3 python3-venv"
  elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then missing="python3-venv"; fi
  command -v git >/dev/null || missing="$missing git"
  command -v redis-server >/dev/null || missing="$missing redis-server"
  command -v bwrap >/dev/null || missing="$missing bubblewrap"
  if chromium_is_there; then :
  elif is_ubuntu; then only_as_snap=" chromium (a snap on Ubuntu, which the tests cannot drive)"
  else missing="$missing chromium"; fi
  if [ $long = yes ]; then command -v wrk >/dev/null || missing="$missing wrk"; fi
}

# In a shell of its own, so that its trap ends with it.
install_missing() (
  # A package that starts a service must not: the tests run their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086  # one word for each package
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
)

look_for_missing
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing: $missing"
  install_missing
  look_for_missing
fi
if ! python_is_there; then
  echo "Python 3.11 or newer is needed" >&2
  exit 1
fi
if [ -z "$missing$only_as_snap" ]; then
  export UHLP_REQUIRE_SERVICES="${UHLP_REQUIRE_SERVICES:-1}"
else
  echo "missing, tests that need them are skipped: $missing$only_as_snap"
fi

venv=.venv-test
stamp="$venv/installed-$({ "$python" -VV; pwd; cat requirements.txt pyproject.toml; } | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  touch "$stamp"
fi
if [ $prepare = yes ]; then exit; fi

select='not long'
if [ $long = yes ]; then select='long or not long'; fi
"$venv/bin/python" -m pytest -m "$select" "$@"
