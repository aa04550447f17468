#!/bin/sh
# Installs the agent of MIRROR STAGE EGO in /opt/mirror-stage, enrols this host and starts the agent as a service.
# It reads nothing from the internet, only from EGO, and takes only files with the checksums below. Run it again to
# upgrade: enrolment, settings and waiting samples stay. The code, if there is one, is in $code: the first line that sh read.
ego='@EGO@'
pin='@PIN@' # of EGO's key; empty if EGO speaks plain HTTP, or behind a proxy of its own
home=/opt/mirror-stage

die() { echo "enroll: $*" >&2; exit 1; }

find_python() { # always with -I: without it Python would import what lies in the folder in which somebody runs this
  for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
    python=$(command -v $python) || continue
    if "$python" -I -c 'import json, ssl, sys, zipfile; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then return; fi
  done
  die "this host needs Python 3.9 or newer, such as: apt install python3, dnf install python3.11, apk add python3"
}

fetch() { # name, SHA-256
  if command -v curl >/dev/null; then
    curl -fsS ${pin:+-k --pinnedpubkey "$pin"} -o "$new/$1" "$ego/enroll/$1" || die "EGO does not send $1"
  elif command -v wget >/dev/null; then # it may know no pins: the checksum proves the file
    wget -q ${pin:+--no-check-certificate} -O "$new/$1" "$ego/enroll/$1" || die "EGO does not send $1"
  else die "this host has neither curl nor wget"; fi
  echo "$2  $new/$1" | sha256sum -c - >/dev/null 2>&1 || die "$1 is not the file that EGO made: its checksum differs"
  "$python" -I -m zipfile -e "$new/$1" "$new/lib"
  rm "$new/$1"
}

main() {
  set -eu
  umask 022
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  [ "$(id -u)" = 0 ] || die "only root may install the agent: end the line with | sudo sh"
  [ ! -e $home/bin/gunicorn ] || die "EGO itself is installed in $home: use $home/bin/mirror-stage reflector enroll"
  find_python
  new=$(mktemp -d $home.XXXXXX)
  trap 'rm -rf "$new"' EXIT
  trap 'exit 1' HUP INT TERM
  fetch '@AGENT@' @AGENT_SHA256@
  fetch '@TOMLI@' @TOMLI_SHA256@
  kind=$("$python" -I -c 'import sysconfig; print(sysconfig.get_config_var("HOST_GNU_TYPE"))')
  case $kind in
@PSUTIL@
    *) die "EGO has no psutil for this machine ($kind), only for x86-64 and aarch64" ;;
  esac
  mkdir "$new/bin"
  printf '%s\n' "#!$python -I" 'import os, sys' 'sys.path.insert(0, os.path.realpath(__file__ + "/../../lib"))' \
    'from mirror_stage.runtime.entry import main' 'sys.exit(main())' >"$new/bin/mirror-stage"
  chmod 755 "$new" "$new/bin/mirror-stage"
  "$python" -I -m compileall -q "$new/lib" >/dev/null || true
  printf '%s\n' "${code:-}" | "$new/bin/mirror-stage" reflector enroll --ego "$ego" @TRUST@ --code-file -
  rm -rf $home.old
  if [ -e $home ]; then mv $home $home.old; fi
  mv "$new" $home && rm -rf $home.old
  if [ -d /run/systemd/system ]; then $home/bin/mirror-stage reflector install
  else echo "systemd does not run here: let your init start  $home/bin/mirror-stage reflector run"; fi
}

main
