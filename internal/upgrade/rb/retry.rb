# Lets a batched migration run again. Jobs that have used their attempts are never taken up
# by themselves, and below 15.2 the task "finalize" does not run them either.
# lib/gitlab/database/background_migration/batched_migration.rb and batched_job.rb
migration = Gitlab::Database::BackgroundMigration::BatchedMigration.find(JSON.parse(ARGV[0])['id'])
status = -> { migration.reload.read_attribute_before_type_cast(:status).to_i }
if status.call == 4
  begin
    migration.retry_failed_jobs! if migration.respond_to?(:retry_failed_jobs!) # 14.3 and later
  rescue StandardError => e
    # It halves each job, and gives up at one that has one row left (14.3), or that goes by
    # cursors (18.x): such a job runs again as it is.
    warn "jobs of #{migration.id} are not halved: #{e.message}"
  end
  migration.batched_jobs.where(status: 2).update_all(attempts: 0)
end
# Paused, left behind by a task that was killed, or failed in a version that does not go on by
# itself. From started_at on failures are counted, of which too many end it again.
if status.call != 1
  columns = { status: 1 }
  columns[:started_at] = Time.current if migration.has_attribute?(:started_at)
  migration.update_columns(columns)
end
puts "gitlab-codedeploy: #{status.call}"
