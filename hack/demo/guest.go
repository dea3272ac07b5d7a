package main

// guest is what differs between the systems that the demo's machines run.
type guest struct {
	recipe   string // below images/
	size     string // instance type
	decorate string // shell script that serves PAGE on port 80, now and at each boot
}

var guests = map[string]guest{
	"tiny": {recipe: "tiny", size: "b1.micro", decorate: `set -e
mkdir -p /var/www /etc/rc.d
echo 'PAGE' > /var/www/index.html
printf '#!/bin/sh\nexec httpd -f -p 80 -h /var/www\n' > /etc/rc.d/web
chmod 755 /etc/rc.d/web
sync
(/etc/rc.d/web >/dev/null 2>&1 </dev/null &)
`},
	"debian": {recipe: "debian-12-offline", size: "t3.micro", decorate: `set -e
echo 'PAGE' | sudo tee /var/www/html/index.html >/dev/null
sudo systemctl unmask nginx
sudo systemctl enable --now nginx
sudo install -m 0666 /dev/null /var/log/diary
sync
`},
}

// diary never stops writing.
const diary = `(while :; do date >> /var/log/diary; sync; done >/dev/null 2>&1 </dev/null &)`
