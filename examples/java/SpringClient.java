// Sends a command to crm-processor and gets its reply with Spring's ReplyingKafkaTemplate. No adapter: the template's own headers
// (kafka_correlationId, kafka_replyTopic, kafka_replyPartition) are understood. No Spring Boot either; with it, the factories and
// the container are beans that are configured by `spring.kafka.*`. Java 17, Maven:
//
//     cd examples/java
//     mvn -q dependency:copy-dependencies -DoutputDirectory=lib && javac -cp 'lib/*' -d classes *.java
//     java -cp 'classes:lib/*' SpringClient 127.0.0.1:9092 http://127.0.0.1:8081 crm.commands crm.replies.shop 0 r-1 c-1 'Ada Lovelace'
//
// The reply topic must exist and be on `kafka.reply_topic_allow_list`; the number is the partition of it that is this
// instance's own. Then come the request id, the customer's external id and the new custom name. Prints the reply as JSON. Exit
// code 0: done, 1: refused, 3: no reply, although the command was sent three times; then send it again, with the same request id.

import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.requestreply.KafkaReplyTimeoutException;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.support.TopicPartitionOffset;
import org.springframework.kafka.support.TopicPartitionOffset.SeekPosition;

public final class SpringClient {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int ATTEMPTS = 3;

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 8) {
            System.err.println("usage: SpringClient BOOTSTRAP_SERVERS REGISTRY_URL COMMAND_TOPIC REPLY_TOPIC REPLY_PARTITION"
                + " REQUEST_ID EXTERNAL_ID CUSTOM_NAME");
            System.exit(2);
        }
        String servers = arguments[0], registry = arguments[1], commands = arguments[2];
        var ownPartition = new TopicPartitionOffset(arguments[3], Integer.parseInt(arguments[4]), SeekPosition.END);

        var producers = new DefaultKafkaProducerFactory<String, GenericRecord>(Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
            WireFormat.REGISTRY_URL, registry,
            ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class,
            ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, WireFormat.Serializer.class));
        var consumers = new DefaultKafkaConsumerFactory<String, GenericRecord>(Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
            WireFormat.REGISTRY_URL, registry,
            // Without it the container would see replies of transactions that were aborted, too.
            ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
            ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
            ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, WireFormat.Deserializer.class));
        Schema schema = new WireFormat.Registry(registry).latest(commands + "-crm.v1.UpdateCustomerCustomName");
        GenericRecord command = Commands.customName(schema, arguments[5], arguments[6], arguments[7]);

        var properties = new ContainerProperties(ownPartition);
        properties.setGroupId("crm-spring-example-" + ownPartition.getPartition());
        var template = new ReplyingKafkaTemplate<>(producers, new ConcurrentMessageListenerContainer<>(consumers, properties));
        template.setDefaultReplyTimeout(PATIENCE);
        template.start();
        template.waitForAssignment(PATIENCE);

        GenericRecord reply = null;
        try {
            reply = ask(template, commands, arguments[6], command).value();
            System.out.println(reply);
        } catch (ExecutionException e) {
            System.err.println(e.getCause());
        }
        template.destroy();
        producers.destroy();
        System.exit(reply == null ? 3 : (int) reply.get("statusCode") == 200 ? 0 : 1);
    }

    /** Sends a command until it is answered. The same request id each time, so it takes effect once. */
    private static ConsumerRecord<String, GenericRecord> ask(
            ReplyingKafkaTemplate<String, GenericRecord, GenericRecord> template, String topic, String key, GenericRecord command)
            throws ExecutionException, InterruptedException {
        for (int attempt = 1; ; attempt++) {
            try {
                // The key names the entity, so that its commands stay in order.
                return template.sendAndReceive(new ProducerRecord<>(topic, key, command)).get();
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof KafkaReplyTimeoutException) || attempt == ATTEMPTS) {
                    throw e;
                }
            }
        }
    }
}
