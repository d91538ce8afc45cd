# Jobs of background migrations that Sidekiq has, now or for later.
puts "gitlab-codedeploy: #{Gitlab::BackgroundMigration.remaining}"
