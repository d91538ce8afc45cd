-- How many runners GitLab has heard from lately, and how many it knows. It writes a contact
-- down every 40 to 55 minutes only.
SELECT count(*) FILTER (WHERE contacted_at > (now() AT TIME ZONE 'UTC') - interval '2 hours'), count(*) FROM ci_runners;
