# What Redis holds of Sidekiq: GitLab's page on moving to a new server waits until nothing
# is busy or enqueued. Scheduled jobs and repetitions are in Redis, too.
# https://docs.gitlab.com/administration/backup_restore/migrate_to_new_server/
require 'sidekiq/api'
stats = Sidekiq::Stats.new
puts "gitlab-codedeploy: " + {
  busy: stats.workers_size, enqueued: stats.enqueued, scheduled: stats.scheduled_size, retries: stats.retry_size
}.to_json
