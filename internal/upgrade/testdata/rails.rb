# Just enough of Rails and of GitLab for retry.rb and rerun.rb: BatchedMigration, BatchedJob,
# BackgroundMigrationJob and BackgroundMigration.perform of 14.0, 14.3 and 18.11. GITLAB is the
# version, STATUS the migration's, and BATCHED what its failed jobs are like.
require 'json'

class Time
  def self.current = now
end

class Relation
  include Enumerable
  def initialize(rows) = @rows = rows
  def each(&block) = @rows.each(&block)
  def find_each(&block) = @rows.dup.each(&block)
  def where(columns) = Relation.new(@rows.select { |row| columns.all? { |name, value| row[name] == value } })
  def update_all(columns) = @rows.each { |row| columns.each { |name, value| row[name] = value } }
end

module Gitlab
  module Database
    module BackgroundMigration
      BatchedJob = Struct.new(:id, :status, :attempts, :batch_size) do
        def split_and_retry! # status stays failed: those with attempts left are taken up
          raise 'Job cannot be split further' if ENV['GITLAB'] == '14.3' && batch_size < 2
          raise 'Split and retry not yet supported for cursor based jobs' if ENV['BATCHED'] == 'cursors'

          self.batch_size /= 2
          self.attempts = 0
        end
      end

      class BatchedMigration
        attr_reader :id, :batched_jobs

        def self.find(id) = new(id)

        def initialize(id)
          @id = id
          size = ENV['BATCHED'] == 'one' ? 1 : 1000
          rows = [BatchedJob.new(1, 3, 1, 1000), BatchedJob.new(2, 2, 3, 1000), BatchedJob.new(3, 2, 3, size)]
          rows = rows.take(1) if ENV['BATCHED'] == 'none'
          @batched_jobs = Relation.new(rows)
          @columns = { status: Integer(ENV.fetch('STATUS')) }
          @columns[:started_at] = nil unless ENV['GITLAB'].start_with?('14.')
        end

        def reload = self
        def read_attribute_before_type_cast(name) = @columns.fetch(name).to_s
        def has_attribute?(name) = @columns.key?(name)
        def update_columns(columns) = columns.each { |name, value| @columns.key?(name) ? @columns[name] = value : raise("no column #{name}") }

        unless ENV['GITLAB'] == '14.0'
          def retry_failed_jobs!
            failed = batched_jobs.where(status: 2)
            failed.each(&:split_and_retry!)
            return if failed.none? && ENV['GITLAB'] == '14.3' # it stays failed

            raise 'there is no such transition' unless [0, 1, 4].include?(@columns[:status])

            @columns[:status] = 1
            @columns[:started_at] = Time.current if @columns.key?(:started_at)
          end
        end

        at_exit do
          ObjectSpace.each_object(self) do |m|
            m.batched_jobs.each { |job| warn "job #{job.id}: #{job.status} #{job.attempts} #{job.batch_size}" }
            warn "started: #{!m.instance_variable_get(:@columns)[:started_at].nil?}"
          end
        end
      end
    end

    BackgroundMigrationJob = Struct.new(:class_name, :arguments, :status)
    JOBS = [['MigrateA', [1, 5]], ['Gitlab::BackgroundMigration::MigrateA', [6, 9]], ['::MigrateB', [1, 2]], ['MigrateGone', [1]], ['Other', [1]], ['MigrateA', [10, 12], 1]]
           .map { |name, arguments, status| BackgroundMigrationJob.new(name, arguments, status || 0) }
    def BackgroundMigrationJob.pending = Relation.new(JOBS).where(status: 0)
  end

  module BackgroundMigration
    class MigrateA
      def perform(from, to) = warn("MigrateA #{from} #{to}")
    end

    class MigrateB
      def perform(from, to) = ENV['BROKEN'] ? raise("no #{from}\nof #{to}") : warn("MigrateB #{from} #{to}")
    end

    def self.perform(class_name, arguments) = const_get(class_name.delete_prefix('::'), false).new.perform(*arguments)
  end
end
