# Sourced by scripts that take packages of other Debian releases: suites that are listed for this alone, so that the system's own sources and
# packages stay as they are. DYNWATCH_MIRROR is another Debian mirror than that of apt's sources.

# suite SUITE ARCH DIR: sets apt to the options by which apt-get and apt-cache know that release and nothing else, with no package installed.
suite() {
	local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=${DYNWATCH_MIRROR:-$(find /etc/apt -name '*.sources' -o -name '*.list' | xargs -r \
		sed -nE 's#^(URIs:|deb( \[[^]]*\])?) +(https?://[^ ]*/debian)/?( .*)?$#\3#p' | sort -u | sed -n 1p)}
	if [ -z "$mirror" ]; then
		echo "$(basename "$0"): error: apt's sources name no Debian mirror" >&2
		echo "$(basename "$0"): hint: set DYNWATCH_MIRROR=http://MIRROR/debian" >&2
		return 1
	fi
	mkdir -p "$3/lists/partial" "$3/cache/archives/partial"
	: >"$3/status"
	echo "deb [arch=$2 signed-by=$keys] $mirror $1 main" >"$3/sources.list"
	apt=(-o "Dir::Etc::sourcelist=$3/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$3/lists"
		-o "Dir::Cache=$3/cache" -o "Dir::State::status=$3/status" -o "APT::Architecture=$2" -o "APT::Architectures=$2"
		-o APT::Sandbox::User=root -o Acquire::Languages=none)
	apt-get "${apt[@]}" -qq update
}
