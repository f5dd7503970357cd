package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
)

// sizeUnits, largest first. Sizes are binary: K and KB are read as KiB, as
// storage tools do.
var sizeUnits = []struct {
	name  string
	bytes uint64
}{{"EiB", 1 << 60}, {"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// parseSize reads "50GiB", "1.5G", "4096", "none".
func parseSize(s string) (uint64, error) {
	t := strings.TrimSpace(s)
	bad := fault.New(fault.Invalid, "cli.size", s, "not a size").Do("write a number with a unit: 4096, 64KiB, 1.5GiB")
	switch strings.ToLower(t) {
	case "none", "unlimited":
		return 0, nil
	case "":
		return 0, bad
	}
	num := strings.TrimRight(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	unit := strings.ToUpper(strings.TrimSpace(t[len(num):]))
	num = strings.TrimSpace(num)
	mult := uint64(1)
	if unit != "" && unit != "B" {
		mult = 0
		for _, u := range sizeUnits {
			if unit == strings.ToUpper(u.name) || unit == u.name[:1] || unit == u.name[:1]+"B" {
				mult = u.bytes
			}
		}
		if mult == 0 {
			return 0, bad
		}
	}
	if n, err := strconv.ParseUint(num, 10, 64); err == nil {
		if n > math.MaxInt64/mult {
			return 0, bad
		}
		return n * mult, nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || f < 0 || math.IsNaN(f) || f*float64(mult) >= math.MaxInt64 {
		return 0, bad
	}
	return uint64(f * float64(mult)), nil
}

// formatSize prints a size for people: "0 B", "4 KiB", "1.4 GiB".
func formatSize(n uint64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes {
			v := float64(n) / float64(u.bytes)
			switch {
			case n%u.bytes == 0 || v >= 99.95:
				return fmt.Sprintf("%.0f %s", v, u.name)
			default:
				return fmt.Sprintf("%.1f %s", v, u.name)
			}
		}
	}
	return fmt.Sprintf("%d B", n)
}

// formatQuota is formatSize, with a word for "none".
func formatQuota(n uint64) string {
	if n == 0 {
		return "none"
	}
	return formatSize(n)
}

// formatCount groups digits: 1,234,567.
func formatCount[T ~int | ~int64 | ~uint32 | ~uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		s = "-" + s
	}
	return s
}

// formatTime prints nanoseconds since 1970 in local time, to the second.
func formatTime(nanos int64) string {
	if nanos == 0 {
		return "-"
	}
	return time.Unix(0, nanos).Format("2006-01-02 15:04:05")
}

// jsonTime is the form of times in --json: RFC 3339 in UTC, to the nanosecond.
func jsonTime(nanos int64) string {
	if nanos == 0 {
		return ""
	}
	return time.Unix(0, nanos).UTC().Format(time.RFC3339Nano)
}

// parseTime reads a moment: RFC 3339, "2026-01-31", "2026-01-31 15:04", or an
// age such as "90m", "36h", "7d" before now.
func parseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e6 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fault.New(fault.Invalid, "cli.time", s, "not a time").
		Do("write 2026-01-31, 2026-01-31T15:04:05Z or an age such as 90m, 36h, 7d")
}

// formatDuration prints a span with two digits that matter.
func formatDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// formatPlain prints a number whose digits are copied, not read.
func formatPlain(n uint64) string { return strconv.FormatUint(n, 10) }
