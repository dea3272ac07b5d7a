package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "make testdata anew, with rpm, rpmbuild, python3 and zstd")

// makeRPMs builds packages, has rpm install them, and keeps its database twice: as it is,
// and with changes that are in its log only, of which the last was not committed. What rpm lists
// is beside them.
const makeRPMs = `
out=$PWD/testdata
cd "$(mktemp -d)"
for i in $(seq 1 70); do
	cat > p.spec <<-END
	Name: package-$i
	Version: 1.$i
	Release: $i.el9
	$([ $((i % 3)) = 0 ] && echo "Epoch: $((i % 2))")
	Summary: The package number $i
	License: MIT AND Apache-2.0
	URL: https://example.org/$i
	Vendor: Vendor $i
	$([ $((i % 2)) = 0 ] && echo "Packager: Some Body <some@example.org>")
	BuildArch: noarch
	%description
	$(yes "Words $i" | head -$((i * 40)))
	%files
	$([ $i = 7 ] && printf '%%package -n part-of-7\nSummary: A part\n%%description -n part-of-7\nPart.\n%%files -n part-of-7\n')
	END
	rpmbuild -bb --quiet --define "_topdir $PWD/top" p.spec
done
rpm --define "_dbpath $PWD/db" --initdb
rpm --define "_dbpath $PWD/db" --nodeps --justdb --ignorearch -i top/RPMS/noarch/*.rpm
rpm --define "_dbpath $PWD/db" -e --justdb package-5
list() { rpm --define "_dbpath $PWD/db" -qa --qf '\{"Manager":"rpm","Name":"%{NAME}","Version":"%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}","Arch":"%{ARCH}","Maintainer":"%|PACKAGER?{%{PACKAGER}}:{%{VENDOR}}|","Homepage":"%{URL}","License":"%{LICENSE}","Summary":"%{SUMMARY}"\}\n' | sort > "$out/$1.jsonl"; }
list rpmdb
zstd -qf -19 db/rpmdb.sqlite -o "$out/rpmdb.sqlite.zst"
python3 - <<-END
import shutil, sqlite3
db = sqlite3.connect("db/rpmdb.sqlite", isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("pragma wal_autocheckpoint=0")
rows = db.execute("select hnum from Packages order by hnum").fetchall()
for (n,) in rows[:9]: db.execute("delete from Packages where hnum=?", (n,))
db.execute("pragma cache_size=3")
db.execute("begin")
db.execute("delete from Packages")
shutil.copy("db/rpmdb.sqlite", "now")
shutil.copy("db/rpmdb.sqlite-wal", "wal")
db.execute("rollback")
END
zstd -qf -19 wal -o "$out/rpmdb.sqlite-wal.zst"
list rpmdb-wal
`

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRPM lists what rpm itself lists, of its database and of one with a log.
func TestRPM(t *testing.T) {
	if *update {
		if out, err := exec.Command("sh", "-ec", makeRPMs).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	db, wal := unpack(t, "rpmdb.sqlite.zst"), unpack(t, "rpmdb.sqlite-wal.zst")
	if len(wal) == 0 {
		t.Fatal("the log is empty")
	}
	for name, wal := range map[string][]byte{"rpmdb": nil, "rpmdb-wal": wal} {
		got, err := parseRPM(db, wal)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]Package{}
		for _, p := range got {
			byName[p.Name] = p
		}
		listed, err := os.Open(filepath.Join("testdata", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		defer listed.Close()
		want := map[string]Package{}
		for d := json.NewDecoder(listed); d.More(); {
			var p Package
			if err := d.Decode(&p); err != nil {
				t.Fatal(err)
			}
			p.Source, p.SourceVersion = p.Name, p.Version[bytes.IndexByte([]byte(p.Version), ':')+1:]
			if p.Name == "part-of-7" {
				p.Source = "package-7"
			}
			want[p.Name] = p
		}
		if diff := cmp.Diff(want, byName); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		t.Log(name, len(got))
	}
}

// TestDamagedRPM: damage is an error, or another list.
func TestDamagedRPM(t *testing.T) {
	db, wal := unpack(t, "rpmdb.sqlite.zst"), unpack(t, "rpmdb.sqlite-wal.zst")
	r, failed := rand.New(rand.NewPCG(3, 3)), 0
	for range 300 {
		broken := bytes.Clone(db)
		for range 1 + r.IntN(200) {
			broken[r.IntN(len(broken))] = byte(r.IntN(256))
		}
		if _, err := parseRPM(broken, wal); errors.Is(err, errDatabase) {
			failed++
		} else if err != nil {
			t.Errorf("an error of another kind: %v", err)
		}
	}
	if failed == 0 {
		t.Error("no damage was seen")
	}
}

func FuzzRPM(f *testing.F) {
	db, wal := unpack(f, "rpmdb.sqlite.zst"), unpack(f, "rpmdb.sqlite-wal.zst")
	f.Add(0, []byte{}, 0, []byte{}, false)
	f.Fuzz(func(_ *testing.T, at int, patch []byte, at2 int, patch2 []byte, logged bool) {
		broken, log := bytes.Clone(db), []byte(nil)
		copy(broken[uint(at)%uint(len(broken)):], patch)
		copy(broken[uint(at2)%uint(len(broken)):], patch2)
		if logged {
			log = wal
		}
		_, _ = parseRPM(broken, log)
	})
}
