# frozen_string_literal: true

# What a job template can reference, evaluated inside the embedded interpreter.
# Contract: the renderer of create-env (one ruby process per file), so names, texts and return values are fixed.

require 'json'
require 'erb'
require 'yaml'

# Libraries that became gems, base64 among them; rubygems, which would find them, costs a second to load.
$LOAD_PATH.concat(Dir.glob('/usr/local/lib/ruby/gems/*/gems/*/lib').sort)

# Loaded when a template first names them; create-env gets some of them through rubygems.
autoload :Base64, 'base64'
autoload :Digest, 'digest'
autoload :Gem, 'rubygems'
autoload :IPAddr, 'ipaddr'
autoload :OpenSSL, 'openssl'
autoload :OpenStruct, 'ostruct'
autoload :SecureRandom, 'securerandom'
autoload :Shellwords, 'shellwords'
autoload :URI, 'uri'

class Hash
  def recursive_merge!(other)
    merge!(other) do |_key, old, new|
      old.instance_of?(Hash) && new.instance_of?(Hash) ? old.recursive_merge!(new) : new
    end
  end
end

# Struct view of a map: every name can be called; unknown ones give nil.
class PropertyStruct
  def initialize(hash = {})
    @table = {}
    hash.each { |key, value| @table[key.to_sym] = PropertyStruct.view(value) }
  end

  def self.view(value)
    case value
    when Hash then new(value)
    when Array then value.map { |item| view(item) }
    else value
    end
  end

  def method_missing(name, *args)
    text = name.to_s
    unless text.end_with?('=')
      value = @table[name]
      MicroboshRenderer.remember_member(self, name, value)
      return value
    end

    @table[text.chomp('=').to_sym] = PropertyStruct.view(args.first)
  end

  def respond_to_missing?(name, _include_private = false)
    @table.key?(name.to_sym) || name.to_s.end_with?('=')
  end
end

class TemplateEvaluationContext
  class UnknownProperty < StandardError
    attr_reader :name

    def initialize(names)
      @names = names
      super("Can't find property '#{names.join("', or '")}'")
    end
  end

  class UnknownLink < StandardError
    def initialize(name)
      super("Can't find link '#{name}'")
    end
  end

  class ActiveElseBlock
    def initialize(context)
      @context = context
    end

    def else
      yield
    end

    def else_if_p(*names, &block)
      @context.if_p(*names, &block)
    end

    def else_if_link(name, &block)
      @context.if_link(name, &block)
    end
  end

  class InactiveElseBlock
    def else; end

    def else_if_p(*_names)
      InactiveElseBlock.new
    end

    def else_if_link(_name)
      InactiveElseBlock.new
    end
  end

  # `p` and `if_p` over a map of properties, walking dotted names with `[]`.
  module PropertyAccess
    def p(*args)
      names = Array(args[0])
      MicroboshRenderer.remember(names)
      names.each do |name|
        value = PropertyAccess.lookup(property_map, name)
        return value unless value.nil?
      end
      return args[1] if args.length == 2

      raise UnknownProperty, names
    end

    def if_p(*names)
      MicroboshRenderer.remember(names)
      values = names.map do |name|
        value = PropertyAccess.lookup(property_map, name)
        return ActiveElseBlock.new(self) if value.nil?

        value
      end
      yield(*values)
      InactiveElseBlock.new
    end

    def self.lookup(map, name)
      name.split('.').reduce(map) do |parent, key|
        value = parent[key]
        return nil if value.nil?

        value
      end
    end
  end

  class LinkInstance
    include PropertyAccess
    attr_reader :name, :index, :id, :az, :address, :bootstrap, :properties

    def initialize(spec)
      @name, @index, @id, @az, @address, @bootstrap =
        spec.values_at('name', 'index', 'id', 'az', 'address', 'bootstrap')
      @properties = spec['properties'] || {}
    end

    def if_link(_name)
      InactiveElseBlock.new
    end

    private

    def property_map
      @properties
    end
  end

  class Link
    include PropertyAccess
    attr_reader :instances, :properties

    def initialize(spec)
      @instances = spec['instances'].map { |instance| LinkInstance.new(instance) }
      @properties = spec['properties'] || {}
      @address = spec['address']
    end

    # Without a DNS server there is one address: the fixed one of a manual link, else the one of the first instance.
    def address(_criteria = {})
      @address || @instances.first&.address || raise(NotImplementedError, 'link.address needs a link with an address')
    end

    def if_link(_name)
      InactiveElseBlock.new
    end

    private

    def property_map
      @properties
    end
  end

  include PropertyAccess
  attr_reader :name, :index, :properties, :raw_properties, :spec

  def initialize(spec)
    @name = spec['job']['name'] if spec['job'].is_a?(Hash)
    @index = spec['index']
    @links = spec.delete('links') || {}
    @raw_properties = spec.key?('default_properties') ? visible_properties(spec) : spec['properties'] || {}
    @properties = PropertyStruct.view(@raw_properties)
    MicroboshRenderer.name_struct(@properties)
    @spec = PropertyStruct.view(spec)
  end

  def get_binding
    binding
  end

  def link(name)
    Link.new(@links[name] || raise(UnknownLink, name))
  end

  def if_link(name)
    spec = @links[name]
    return ActiveElseBlock.new(self) if spec.nil?

    yield Link.new(spec)
    InactiveElseBlock.new
  end

  private

  def property_map
    @raw_properties
  end

  # A job sees what it declares: the value at the declared path, or the declared default.
  def visible_properties(spec)
    given = spec['job_properties']
    given = spec['global_properties'].recursive_merge!(spec['cluster_properties']) if given.nil?
    spec['default_properties'].each_with_object({}) do |(name, default), visible|
      value = PropertyAccess.lookup(given, name)
      *parents, last = name.split('.')
      holder = parents.reduce(visible) { |map, key| map[key] ||= {} }
      holder[last] ||= {} # refuses a holder that cannot hold it
      holder[last] = value.nil? ? default : value
    end
  end
end

UnknownProperty = TemplateEvaluationContext::UnknownProperty
UnknownLink = TemplateEvaluationContext::UnknownLink

class << JSON
  alias dump_array_or_hash dump

  # A bare string or number is written as Ruby shows it; templates in the field depend on it.
  def dump(*args)
    case args[0]
    when String, Numeric then args[0].inspect
    else dump_array_or_hash(*args)
    end
  end
end

# `ipaddr` and others load it; there is no network in here.
$LOADED_FEATURES << 'socket.rb' << 'js.rb' << 'js.so'
class SocketError < StandardError; end

module MicroboshSandbox
  NO_NETWORK = 'a template cannot reach the network'
  NO_PROCESS = 'a template cannot start processes'

  module NoNetwork
    def self.extended(klass)
      klass.define_singleton_method(:method_missing) { |*_args| raise SocketError, NO_NETWORK }
      klass.define_singleton_method(:new) { |*_args, **_options| raise SocketError, NO_NETWORK }
      klass.define_singleton_method(:open) { |*_args, **_options| raise SocketError, NO_NETWORK }
    end
  end
end

class BasicSocket < IO
  extend MicroboshSandbox::NoNetwork
end

class Socket < BasicSocket
  AF_UNSPEC = 0
  AF_INET = 2
  AF_INET6 = 10
  extend MicroboshSandbox::NoNetwork
end

class IPSocket < BasicSocket
  extend MicroboshSandbox::NoNetwork
end

class TCPSocket < IPSocket
  extend MicroboshSandbox::NoNetwork
end

class TCPServer < TCPSocket; end

class UDPSocket < IPSocket
  extend MicroboshSandbox::NoNetwork
end

class UNIXSocket < BasicSocket
  extend MicroboshSandbox::NoNetwork
end

module Kernel
  %i[system spawn exec fork `].each do |name|
    define_method(name) { |*_args, **_options| raise NotImplementedError, MicroboshSandbox::NO_PROCESS }
    private name
  end
end

[Kernel, Process].each do |holder|
  (%i[system spawn exec fork ` daemon kill] & holder.singleton_methods).each do |name|
    holder.define_singleton_method(name) { |*_args, **_options| raise NotImplementedError, MicroboshSandbox::NO_PROCESS }
  end
end

class << IO
  def popen(*_args, **_options)
    raise NotImplementedError, MicroboshSandbox::NO_PROCESS
  end
end

module MicroboshRenderer
  CONTEXT_METHODS = TemplateEvaluationContext.instance_methods(false).to_h { |name| [name, true] }.freeze

  class << self
    # Renders one template. Answers `+` or `*` and the text, or `!` and a JSON description of the failure;
    # `*` and its `!` counterpart (`"dirty": true`) say that the template changed the interpreter itself.
    def render(context_json, template, file)
      @names = []
      @struct_names = {}.compare_by_identity
      @changed = false
      context = nil
      erb = ERB.new(template, trim_mode: '-')
      erb.filename = file
      context = TemplateEvaluationContext.new(JSON.parse(context_json))
      @watching = true
      text = erb.result(context.get_binding)
      @watching = false
      forget_methods
      (@changed ? '*' : '+').b + text.b
    rescue Exception => e # whatever it is: the next template must still render
      @watching = false
      forget_methods
      '!'.b + JSON.generate(describe(e, context, file)).b
    end

    def remember(names)
      @names = names.map(&:to_s) if @watching
    end

    # The struct view knows no names of its own: what it shows must stay what create-env's shows.
    def name_struct(struct, keys = [])
      @struct_names[struct] = keys
    end

    def remember_member(struct, key, value)
      parents = @struct_names[struct]
      return if parents.nil?

      keys = [*parents, key]
      name_struct(value, keys) if PropertyStruct === value
      remember([keys.join('.')])
    end

    # Called by Ruby when a class, module or constant changes. Methods that a template defines land in the context's
    # class and are removed again; anything else asks for a fresh interpreter.
    def changed(owner, name)
      return unless @watching

      if owner.equal?(TemplateEvaluationContext) && !CONTEXT_METHODS.key?(name)
        (@added ||= []) << name
      else
        @changed = true unless loading?
      end
    end

    private

    # Whether the definition is made by a library, not by the template: frame 3 is behind this method, `changed` and
    # the hook.
    def loading?
      path = caller_locations(3, 1)&.first&.path
      path.nil? || path.start_with?('/usr/', '/bundle/', '<internal:')
    end

    def forget_methods
      @added&.uniq&.each do |name|
        TemplateEvaluationContext.send(:remove_method, name)
      end
      @added = nil
    end

    def describe(error, context, file)
      trace = error.backtrace || []
      frame = trace.find { |line| line.include?(file) }
      {
        'class' => error.class.name,
        'message' => printable(error.message),
        'inspect' => printable(error.inspect),
        'line' => frame && frame[/\A.*?:(\d+)/, 1],
        'syntaxLine' => error.is_a?(SyntaxError) ? error.message[/:(\d+):/, 1] : nil,
        'subject' => context && "#{context.name}/#{context.index}",
        'properties' => @names,
        'dirty' => @changed || error.is_a?(NoMemoryError)
      }
    rescue Exception => e # an error object with hostile methods
      { 'class' => e.class.name.to_s, 'message' => 'the error could not be described', 'inspect' => "#<#{e.class}>",
        'line' => nil, 'syntaxLine' => nil, 'subject' => nil, 'properties' => [], 'dirty' => true }
    end

    def printable(text)
      text.to_s.dup.force_encoding(Encoding::UTF_8).scrub('?')[0, 4000]
    end
  end
end

class Module
  private

  def method_added(name)
    MicroboshRenderer.changed(self, name)
  end

  def const_added(name)
    MicroboshRenderer.changed(nil, name)
  end
end

class BasicObject
  private

  def singleton_method_added(name)
    ::MicroboshRenderer.changed(nil, name)
  end
end
