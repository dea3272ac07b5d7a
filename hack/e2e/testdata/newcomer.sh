# A newcomer's first minutes, with no right and no setting. See TestNewcomer.
set -euxo pipefail
umask 022

bundtd 2> bundtd.log &
daemon=$!
trap 'kill $daemon && wait $daemon; bundtd purge --yes' EXIT
timeout 60 sh -c 'until bundt ls > /dev/null 2>&1; do sleep 0.2; done'
bundt doctor
bundt key create me
bundt run tiny --key me --name web
test "$(bundt ssh web whoami)" = root
for port in 9000 9001; do
	bundt ssh web "echo page on $port > /var/www/index.html; (exec httpd -f -p $port -h /var/www > /dev/null 2>&1 < /dev/null &)"
done

# Both serve, as the guest itself sees.
bundt ssh web wget -q -O - http://127.0.0.1:9001/
# A rule opens one of them, at the instance's public address. The other stays shut,
# and the network says why.
bundt security-group allow default tcp/9000
address=$(bundt ls --query '[0].PublicIpAddress' -o json | tr -d '"')
timeout 20 sh -c "until curl --silent --fail --max-time 2 http://$address:9000/; do sleep 0.2; done"
if curl --silent --max-time 2 "http://$address:9001/" || bundt net trace host --to web:9001; then
	echo "the port without a rule was reached" >&2
	exit 1
fi
bundt net trace host --to web:9000
bundt rm web
