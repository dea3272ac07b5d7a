package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/schedule"
)

func TestNext(t *testing.T) {
	for _, tc := range []struct{ expression, zone, after, want string }{
		{"cron(0 3 * * ? *)", "", "2026-05-01T02:59:59Z", "2026-05-01T03:00:00Z"},
		{"cron(0 3 * * ? *)", "", "2026-05-01T03:00:00Z", "2026-05-02T03:00:00Z"},
		{"0 3 * * ? *", "", "2026-05-01T03:00:00Z", "2026-05-02T03:00:00Z"},
		{"cron(*/15 * * * ? *)", "", "2026-05-01T03:16:20Z", "2026-05-01T03:30:00Z"},
		{"cron(0 3 ? * 1 *)", "", "2026-05-01T00:00:00Z", "2026-05-03T03:00:00Z"},   // a Sunday
		{"cron(0 3 ? * 7 *)", "", "2026-05-01T00:00:00Z", "2026-05-02T03:00:00Z"},   // a Saturday
		{"cron(0 3 ? * 2-6 *)", "", "2026-05-02T00:00:00Z", "2026-05-04T03:00:00Z"}, // a Monday
		{"cron(0 3 ? * MON-FRI *)", "", "2026-05-02T00:00:00Z", "2026-05-04T03:00:00Z"},
		{"cron(0 3 ? * 3#2 *)", "", "2026-05-01T00:00:00Z", "2026-05-12T03:00:00Z"}, // the second Tuesday
		{"cron(0 3 ? * 6L *)", "", "2026-05-01T00:00:00Z", "2026-05-29T03:00:00Z"},  // the last Friday
		{"cron(0 3 L * ? *)", "", "2026-02-01T00:00:00Z", "2026-02-28T03:00:00Z"},
		{"cron(0 3 1 1 ? 2030)", "", "2026-02-01T00:00:00Z", "2030-01-01T03:00:00Z"},
		{"cron(0 3 1 1 ? 2020)", "", "2026-02-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		{"cron(0 3 * * ? *)", "Europe/Berlin", "2026-01-10T00:00:00Z", "2026-01-10T02:00:00Z"},
		{"cron(0 3 * * ? *)", "Europe/Berlin", "2026-07-10T00:00:00Z", "2026-07-10T01:00:00Z"},
		{"cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"}, // twice that day: once is enough
		{"cron(0 12 * * ? *)", "Europe/Berlin", "2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"}, // the day of 23 hours
	} {
		s, err := schedule.Parse(tc.expression, tc.zone)
		if err != nil {
			t.Errorf("%s: %v", tc.expression, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, tc.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).Format(time.RFC3339); got != tc.want {
			t.Errorf("%s %s after %s is due at %s, not %s", tc.expression, tc.zone, tc.after, got, tc.want)
		}
	}
}

// A time that the clock skips does not make it stand still, and one that comes twice
// comes at most twice.
func TestClockChanges(t *testing.T) {
	s, err := schedule.Parse("cron(30 2 * * ? *)", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	days := 0
	for ; at.Year() == 2026; days++ {
		next := s.Next(at)
		if gap := next.Sub(at); gap <= 0 || gap > 49*time.Hour {
			t.Fatalf("after %s comes %s", at, next)
		}
		at = next
	}
	if days < 364 || days > 367 {
		t.Errorf("it is due %d times a year", days)
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct{ expression, zone, want string }{
		{"", "", "has 0 fields"},
		{"cron(0 3 * * *)", "", "has 5 fields"},
		{"cron(0 3 * * ? *", "", "does not end"},
		{"rate(1 day)", "", "fields"},
		{"cron(0 3 * * * *)", "", "must be \"?\""},
		{"cron(0 3 ? * ? *)", "", "must be \"?\""},
		{"cron(0 3 ? * 0 *)", "", "day of the week 0"},
		{"cron(0 3 ? * 2-8 *)", "", "day of the week 8"},
		{"cron(60 3 * * ? *)", "", ""},
		{"cron(0 24 * * ? *)", "", ""},
		{"cron(0 3 32 * ? *)", "", ""},
		{"cron(0 3 * 13 ? *)", "", ""},
		{"cron(x 3 * * ? *)", "", ""},
		{"cron(0 3 ? * FOO *)", "", ""},
		{"cron(0 3 * * ? *)", "Mars/Olympus", "time zone"},
		{"cron(0 3 * * ? *)", "Local", "time zone"},
	} {
		if s, err := schedule.Parse(tc.expression, tc.zone); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: %v, %v", tc.expression, tc.zone, s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cron(0 3 ? * 6L *)")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := schedule.Parse(text, ""); err == nil {
			s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		}
	})
}
