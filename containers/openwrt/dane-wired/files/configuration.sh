# hostapd's configuration from /etc/config/dane-wired. After `config_load dane-wired`.

# dane_wired_get OPTION: its value. Without one, nothing starts: an empty secret would be a known one.
dane_wired_get() {
	local value
	config_get value radius "$1"
	[ -n "$value" ] || { echo "dane-wired: option $1 is missing" >&2; return 1; }
	echo "$value"
}

# dane_wired_port DEVICE NUMBER FOLDER: hostapd's configuration of a port. NUMBER: 0 for the first one.
dane_wired_port() {
	local device="$1" number="$2" folder="$3"
	local nas_identifier own_ip server auth_port acct_port secret das_client das_port das_secret
	local option
	for option in nas_identifier own_ip server auth_port acct_port secret das_client das_port das_secret; do
		eval "$option=\$(dane_wired_get $option)" || return 1
	done
	cat <<EOF
interface=$device
driver=wired
ctrl_interface=$folder/control
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
# Above 0: otherwise, hostapd ignores the re-authentication that the server asks for.
eap_reauth_period=3600
eap_server=0
own_ip_addr=$own_ip
nas_identifier=$nas_identifier
auth_server_addr=$server
auth_server_port=$auth_port
auth_server_shared_secret=$secret
acct_server_addr=$server
acct_server_port=$acct_port
acct_server_shared_secret=$secret
radius_acct_interim_interval=600
radius_request_cui=1
radius_das_port=$((das_port + number))
radius_das_client=$das_client $das_secret
radius_das_time_window=300
radius_das_require_event_timestamp=1
radius_das_require_message_authenticator=1
# NAS-Port-Type: Ethernet. By default, hostapd sends Wireless-802.11.
radius_auth_req_attr=61:d:15
radius_acct_req_attr=61:d:15
dynamic_vlan=1
vlan_file=$folder/vlans
EOF
}

# dane_wired_vlan NUMBER FOLDER: hostapd takes a VLAN only if it has an interface of its own there. Nothing passes it:
# the port itself joins the bridge.
dane_wired_vlan() {
	local bridge
	bridge=$(dane_wired_get bridge) || return 1
	[ -e "/sys/class/net/dane$1" ] || ip link add "dane$1" type veth peer name "dane$1p" || return 1
	ip link set "dane$1" up
	echo "$1 dane$1 $bridge$1" >>"$2/vlans"
}
