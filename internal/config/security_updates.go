package config

import (
	"fmt"
	"strconv"
	"strings"
)

// updateHours is how long security updates and the restart after them may take: no operation begins before that
// (internal/hold). A backup that takes longer than that is not disturbed; the updates of that week are not made.
const updateHours = 2

func (d *document) validateSecurityUpdates(updates *SecurityUpdates, backup *Backup) {
	check(d, &updates.Day, oneOf("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))
	check(d, &updates.Time, timeOfDay)
	if !updates.Enabled || !d.sound(&updates.Time, &backup.Time) {
		return
	}
	if minutes := minutesApart(updates.Time, backup.Time); minutes < updateHours*60 {
		d.refuse(&updates.Time, fmt.Sprintf("%s, %d minutes from the nightly backup at %s (gitlab.backup.time)", quote(updates.Time), minutes, backup.Time),
			fmt.Sprintf("%d hours or more between the two: updates may restart the server", updateHours))
	}
}

// minutesApart is the shorter way on the clock between two times of day.
func minutesApart(a, b string) int {
	const day = 24 * 60
	apart := (minuteOfDay(a) - minuteOfDay(b) + day) % day
	return min(apart, day-apart)
}

// minuteOfDay takes a text that follows timeOfDay.
func minuteOfDay(text string) int {
	hour, minute, _ := strings.Cut(text, ":")
	h, _ := strconv.Atoi(hour)
	m, _ := strconv.Atoi(minute)
	return h*60 + m
}
