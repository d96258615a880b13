#!/bin/sh
# Passes the tests: makes a venv, installs UHLP from its lock, gets what the tests need through apt when it runs as root
# and something is missing, runs everything. Tests start their servers on private ports and stop them again.
#   sh tests/run.sh              everything that takes under a minute, several processes side by side
#   sh tests/run.sh --long       soaks, benches and long simulations as well
#   sh tests/run.sh --prepare    only the programs and the venv
#   sh tests/run.sh -k words …   the rest goes to pytest
set -eu
cd "$(dirname "$0")/.."

venv=.venv-test
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

# What a Docker engine of the tests' own needs; one that UHLP_TEST_DOCKER_HOST names is taken as it is.
may_start_an_engine() { [ "$(id -u)" = 0 ] && unshare --mount --net true 2>/dev/null; }

# Some kernels (Ubuntu's, a container's) let an ordinary user make no name spaces.
bubblewrap_works() { bwrap --unshare-all --ro-bind / / --proc /proc true 2>/dev/null; }

# Compose, new enough for our file, on the path or beside the tests' Python.
compose_is_there() {
  for compose in "$venv/bin/docker-compose" docker-compose "docker compose"; do
    case "$($compose version --short 2>/dev/null)" in "" | 1.* | v1.*) ;; *) return ;; esac
  done
  return 1
}

# Debian 12 has a Compose 1.x alone: the next release's program, put into the venv. The system's apt stays as it is.
fetch_compose() (
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir -p "$folder/lists/partial" "$folder/archives/partial"
  from=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Release: bookworm' | head -n 1)
  echo "deb ${from:-http://deb.debian.org/debian/} trixie main" >"$folder/sources.list"
  set -- -qq -o Acquire::http::Timeout=30 -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=- -o APT::Sandbox::User= \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder"
  cd "$folder"
  apt-get "$@" update && apt-get "$@" download docker-compose && dpkg-deb -x docker-compose_*.deb unpacked &&
    cp unpacked/usr/libexec/docker/cli-plugins/docker-compose "$OLDPWD/$venv/bin/docker-compose"
)

is_debian_12() { grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release 2>/dev/null; }

is_ubuntu() { grep -q '^ID=ubuntu$' /etc/os-release 2>/dev/null; }

# Packages whose programs are not here and that apt can bring; and what it cannot.
look_for_missing() {
  missing="" not_by_apt=""
  if ! python_is_there; then missing="python3 python3-venv"
  elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then missing="python3-venv"; fi
  command -v git >/dev/null || missing="$missing git"
  command -v strace >/dev/null || missing="$missing strace"
  command -v ssh >/dev/null || missing="$missing openssh-client"
  PATH="$PATH:/usr/sbin" command -v sshd >/dev/null || missing="$missing openssh-server"
  command -v redis-server >/dev/null || missing="$missing redis-server"
  command -v bwrap >/dev/null || missing="$missing bubblewrap"
  if [ -n "${UHLP_TEST_DOCKER_HOST:-}" ]; then
    command -v docker-registry >/dev/null || missing="$missing docker-registry"
  elif may_start_an_engine; then
    command -v dockerd >/dev/null || missing="$missing docker.io"
    command -v iptables >/dev/null || missing="$missing iptables"
    command -v ip >/dev/null || missing="$missing iproute2"
    command -v docker-registry >/dev/null || missing="$missing docker-registry"
  else not_by_apt="$not_by_apt a Docker engine (root may start one, or UHLP_TEST_DOCKER_HOST name one)"; fi
  if command -v bwrap >/dev/null && ! bubblewrap_works; then
    not_by_apt="$not_by_apt name spaces for bubblewrap (it is installed and does not work here)"
  fi
  if compose_is_there || is_debian_12; then :
  elif is_ubuntu; then missing="$missing docker-compose-v2"
  else missing="$missing docker-compose"; fi
  if chromium_is_there; then :
  elif is_ubuntu; then not_by_apt="$not_by_apt chromium (a snap on Ubuntu, which the tests cannot drive)"
  else missing="$missing chromium"; fi
  command -v promtool >/dev/null || missing="$missing prometheus"
  if [ $long = yes ]; then
    command -v wrk >/dev/null || missing="$missing wrk"
    command -v prometheus-pushgateway >/dev/null || missing="$missing prometheus-pushgateway"
  fi
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

stamp="$venv/installed-$({ "$python" -VV; pwd; cat requirements.txt pyproject.toml; } | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  touch "$stamp"
fi

if ! compose_is_there && is_debian_12; then
  echo "fetching docker-compose"
  fetch_compose || not_by_apt="$not_by_apt docker-compose (2 or newer could not be fetched)"
fi

# Programs that the tests talk to and that npm brings; its Node.js is one of the venv's packages.
programs="tests/node/node_modules"
programs_stamp="$programs/installed-$(cksum <tests/node/package-lock.json | cut -d' ' -f1)"
if [ ! -e "$programs_stamp" ]; then
  if PATH="$PWD/$venv/bin:$PATH" npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund --silent; then
    touch "$programs_stamp"
  else not_by_apt="$not_by_apt the programs of tests/node (npm ci did not bring them)"; fi
fi

if [ -z "$missing$not_by_apt" ]; then
  export UHLP_REQUIRE_SERVICES="${UHLP_REQUIRE_SERVICES:-1}"
else
  echo "missing, tests that need them are skipped: $missing$not_by_apt"
fi
if [ $prepare = yes ]; then exit; fi

# Hundreds of processes of Python are started: none is to compile again what another one has compiled.
unset PYTHONDONTWRITEBYTECODE

# Tests wait as much as they work: one process more than there are cores. What is measured is measured alone.
select='not long' side_by_side="-n $(($(nproc) + 1)) --dist loadfile --no-loadscope-reorder"
examples=same
if [ $long = yes ]; then select='long or not long' side_by_side="" examples=new; fi
if [ $# -gt 0 ]; then side_by_side=""; fi
# shellcheck disable=SC2086  # several words, or none
"$venv/bin/python" -m pytest -m "$select" --hypothesis-profile $examples $side_by_side "$@"
