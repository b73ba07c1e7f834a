//! `datetime.strftime`.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Calendar date and time in UTC.
struct DateTime {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    /// Day of the year, from 1.
    ordinal: i64,
    /// From Sunday, 0.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: u32,
}

/// Formats a time in UTC like Python's `strftime` in the C locale.
///
/// # Errors
///
/// The directive, if Python does not have it.
pub fn strftime(format: &str, time: SystemTime) -> Result<String, String> {
    DateTime::new(time).format(format)
}

impl DateTime {
    fn new(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        let seconds = micros.div_euclid(1_000_000);
        let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        Self {
            year,
            month: month as usize,
            day,
            ordinal: days - days_before(year) + 1,
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
            microsecond: micros.rem_euclid(1_000_000) as u32,
        }
    }

    fn format(&self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next();
            let flag = directive.filter(|c| matches!(c, '-' | '_' | '0'));
            if flag.is_some() {
                directive = chars.next();
            }
            match directive.and_then(|directive| self.directive(directive, flag)) {
                Some(text) => out.push_str(&text),
                None => {
                    let given: String = ['%'].into_iter().chain(flag).chain(directive).collect();
                    return Err(format!("`strftime_now` does not know `{given}`"));
                }
            }
        }
        Ok(out)
    }

    fn directive(&self, directive: char, flag: Option<char>) -> Option<String> {
        let number = |value: i64, width: usize, fill: char| {
            Some(match flag.unwrap_or(fill) {
                '-' => value.to_string(),
                '_' => format!("{value:width$}"),
                '0' => format!("{value:0width$}"),
                _ => format!("{value:width$}"),
            })
        };
        let nested = |format: &str| self.format(format).ok();
        let twelve = (self.hour + 11) % 12 + 1;
        let monday_first = (self.weekday as i64 + 6) % 7;
        match directive {
            'Y' => Some(self.year.to_string()),
            'C' => number(self.year / 100, 2, '0'),
            'y' => number(self.year.rem_euclid(100), 2, '0'),
            'm' => number(self.month as i64, 2, '0'),
            'd' => number(self.day, 2, '0'),
            'e' => number(self.day, 2, '_'),
            'j' => number(self.ordinal, 3, '0'),
            'H' => number(self.hour, 2, '0'),
            'k' => number(self.hour, 2, '_'),
            'I' => number(twelve, 2, '0'),
            'l' => number(twelve, 2, '_'),
            'M' => number(self.minute, 2, '0'),
            'S' => number(self.second, 2, '0'),
            'U' => number((self.ordinal + 6 - self.weekday as i64) / 7, 2, '0'),
            'W' => number((self.ordinal + 6 - monday_first) / 7, 2, '0'),
            'w' => Some(self.weekday.to_string()),
            'u' => Some((monday_first + 1).to_string()),
            'f' => Some(format!("{:06}", self.microsecond)),
            'A' => Some(DAYS[self.weekday].to_string()),
            'a' => Some(DAYS[self.weekday][..3].to_string()),
            'B' => Some(MONTHS[self.month - 1].to_string()),
            'b' | 'h' => Some(MONTHS[self.month - 1][..3].to_string()),
            'p' => Some(if self.hour < 12 { "AM" } else { "PM" }.to_string()),
            'P' => Some(if self.hour < 12 { "am" } else { "pm" }.to_string()),
            // Python's `datetime.now()` has no time zone.
            'z' | 'Z' => Some(String::new()),
            'F' => nested("%Y-%m-%d"),
            'T' | 'X' => nested("%H:%M:%S"),
            'R' => nested("%H:%M"),
            'D' | 'x' => nested("%m/%d/%y"),
            'c' => nested("%a %b %e %H:%M:%S %Y"),
            'r' => nested("%I:%M:%S %p"),
            'n' => Some("\n".to_string()),
            't' => Some("\t".to_string()),
            '%' => Some("%".to_string()),
            _ => None,
        }
    }
}

/// Converts days after 1970-01-01 into year, month and day of the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March have their leap day last; 400 of them have 146097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Returns the days from 1970-01-01 to the first day of a year.
fn days_before(year: i64) -> i64 {
    let years = year - 1;
    365 * years + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) - 719_162
}
