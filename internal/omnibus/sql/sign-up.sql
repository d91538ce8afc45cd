-- As ApplicationSetting.current reads it: the newest row, and open without one.
SELECT coalesce((SELECT signup_enabled FROM application_settings ORDER BY id DESC LIMIT 1), true);
