//! Dates as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT`.

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: u64 = 86_400;

/// `unix` is in seconds since 1970.
pub(crate) fn format(unix: u64) -> String {
    // Years that begin in March end with the odd day; 400 of them are an era. Day 0 is the 1st of March of the year 0.
    let day = unix / DAY + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (weekday, time) = (DAYS[((day + 3) % 7) as usize], unix % DAY);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{weekday}, {date:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", MONTHS[month as usize])
}

/// The opposite. None for anything else, the two forms of the last century included: who sends those gets the
/// file whole.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let parts: Vec<&str> = text.split_once(", ")?.1.split([' ', ':']).collect();
    let [date, month, year, hour, minute, second, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|&name| name == month)? as u64;
    let number = |text: &str| text.parse::<u64>().ok();
    let (date, year) = (number(date)?, number(year).filter(|year| (1970..10_000).contains(year))?);
    let (from_march, year) = ((month + 10) % 12, year - u64::from(month < 2));
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + date.checked_sub(1)?;
    let unix = days.checked_sub(719_468)? * DAY + number(hour)? * 3600 + number(minute)? * 60 + number(second)?;
    // The day of the week, and all that is out of its range, is checked by the way back.
    (format(unix) == text).then_some(unix)
}
