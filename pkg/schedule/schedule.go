// Package schedule owns the times at which pipelines run: cron expressions as EC2
// Image Builder has them, in a time zone. It is pure and imports no package of ours.
package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are the same on every host

	"github.com/hashicorp/cronexpr"
)

// Schedule is when something is due.
type Schedule struct {
	expr *cronexpr.Expression
	zone *time.Location
}

// maxLength is Image Builder's.
const maxLength = 1024

// Parse reads an expression of six fields, "cron(MINUTE HOUR DAY-OF-MONTH MONTH
// DAY-OF-WEEK YEAR)", with or without "cron(" and ")", and the name of a time zone of
// the IANA database, "" for UTC. Days of the week are SUN to SAT or 1 to 7, and one of
// the two days is "?".
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/image-builder-cron.html
func Parse(expression, zone string) (*Schedule, error) {
	if len(expression) > maxLength {
		return nil, fmt.Errorf("the schedule is longer than %d characters", maxLength)
	}
	text := strings.TrimSpace(expression)
	if inner, ok := strings.CutPrefix(text, "cron("); ok {
		if text, ok = strings.CutSuffix(inner, ")"); !ok {
			return nil, fmt.Errorf("the schedule %q does not end with \")\"", expression)
		}
	}
	fields := strings.Fields(text)
	if len(fields) != 6 {
		return nil, fmt.Errorf("the schedule %q has %d fields: it must be cron(MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), for instance cron(0 3 * * ? *)", expression, len(fields))
	}
	if (fields[2] == "?") == (fields[4] == "?") {
		return nil, fmt.Errorf("the schedule %q: one of the day of the month and the day of the week must be \"?\", and the other one not", expression)
	}
	var err error
	if fields[4], err = weekdays(fields[4]); err != nil {
		return nil, fmt.Errorf("the schedule %q: %w", expression, err)
	}
	s := &Schedule{zone: time.UTC}
	if s.expr, err = parse(strings.Join(fields, " ")); err != nil {
		return nil, fmt.Errorf("the schedule %q: %w", expression, err)
	}
	if zone != "" {
		if s.zone, err = time.LoadLocation(zone); err != nil || zone == "Local" {
			return nil, fmt.Errorf("the time zone %q is not known: it must be one of the IANA database, for instance Europe/Berlin", zone)
		}
	}
	return s, nil
}

// parse has the library's failures be errors, however they come.
func parse(line string) (expr *cronexpr.Expression, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return cronexpr.Parse(line)
}

// weekday is a day as a number, alone, in a range, or before L or #.
var weekday = regexp.MustCompile(`^(\d+)(?:-(\d+))?(L|#\d+|/\d+)?$`)

// weekdays counts them from 0, as the library does, and not from 1.
func weekdays(field string) (string, error) {
	parts := strings.Split(strings.ToUpper(field), ",")
	for i, part := range parts {
		m := weekday.FindStringSubmatch(part)
		if m == nil {
			continue // by name, or any: the library's to judge
		}
		first, err := before(m[1])
		out := first
		if m[2] != "" {
			last, lerr := before(m[2])
			out, err = first+"-"+last, errors.Join(err, lerr)
		}
		if err != nil {
			return "", err
		}
		parts[i] = out + m[3]
	}
	return strings.Join(parts, ","), nil
}

func before(day string) (string, error) {
	n, err := strconv.Atoi(day)
	if err != nil || n < 1 || n > 7 {
		return "", fmt.Errorf("the day of the week %s is not one of 1 (Sunday) to 7, nor SUN to SAT", day)
	}
	return strconv.Itoa(n - 1), nil
}

// Next is the first time after another at which it is due, in UTC; zero if there is none.
func (s *Schedule) Next(after time.Time) time.Time {
	next := s.expr.Next(after.In(s.zone))
	if next.IsZero() {
		return next
	}
	return next.UTC()
}
