# Jobs of background migrations that Sidekiq has, now or for later. GitLab's own count leaves
# out those that run, and those that failed and are to be tried again: they are not lost.
# lib/gitlab/background_migration.rb, job_coordinator.rb from 14.4 on
require 'sidekiq/api'
ours = ->(name) { name.start_with?('BackgroundMigration') } # BackgroundMigrationWorker, BackgroundMigration::CiDatabaseWorker
busy = Sidekiq::Workers.new.count { |_process, _thread, work| ours.call(work['payload']['class']) }
again = Sidekiq::RetrySet.new.count { |job| ours.call(job.klass) }
puts "gitlab-codedeploy: #{Gitlab::BackgroundMigration.remaining + busy + again}"
