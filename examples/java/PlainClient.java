// Sends a command to crm-processor and waits for its reply with Kafka's own Java client. Java 17, Maven:
//
//     cd examples/java
//     mvn -q dependency:copy-dependencies -DoutputDirectory=lib && javac -cp 'lib/*' -d classes *.java
//     java -cp 'classes:lib/*' PlainClient 127.0.0.1:9092 http://127.0.0.1:8081 crm.commands crm.replies r-1 c-1 'Ada Lovelace'
//
// The last three arguments are the request id, the customer's external id and the new custom name. Prints the reply as JSON. Exit
// code 0: done, 1: refused, or an error that it prints, 3: no reply in time; after an error and after 3 send it again, with the
// same request id.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class PlainClient {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final String CORRELATION_ID = "correlation-id";

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 7) {
            System.err.println(
                "usage: PlainClient BOOTSTRAP_SERVERS REGISTRY_URL COMMAND_TOPIC REPLY_TOPIC REQUEST_ID EXTERNAL_ID CUSTOM_NAME");
            System.exit(2);
        }
        String servers = arguments[0], registry = arguments[1], commands = arguments[2], replies = arguments[3];
        Map<String, Object> sending = Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
            WireFormat.REGISTRY_URL, registry,
            ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class,
            ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, WireFormat.Serializer.class);
        Map<String, Object> reading = Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
            WireFormat.REGISTRY_URL, registry,
            // Without it you would see replies of transactions that were aborted, too.
            ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
            ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
            ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
            ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, WireFormat.Deserializer.class);
        GenericRecord reply;
        try (var consumer = new KafkaConsumer<String, GenericRecord>(reading);
                var producer = new KafkaProducer<String, GenericRecord>(sending)) {
            // The reply will be behind what is there now.
            consumer.assign(consumer.partitionsFor(replies).stream().map(p -> new TopicPartition(replies, p.partition())).toList());
            consumer.seekToEnd(consumer.assignment());
            consumer.assignment().forEach(consumer::position);

            Schema schema = new WireFormat.Registry(registry).latest(commands + "-crm.v1.UpdateCustomerCustomName");
            // The key names the entity, so that its commands stay in order.
            var record = new ProducerRecord<>(commands, arguments[5], Commands.customName(schema, arguments[4], arguments[5], arguments[6]));
            byte[] correlationId = UUID.randomUUID().toString().getBytes(StandardCharsets.UTF_8);
            record.headers().add(CORRELATION_ID, correlationId);
            producer.send(record).get();

            reply = await(consumer, correlationId);
        }
        System.out.println(reply == null ? "no reply after " + PATIENCE : reply);
        System.exit(reply == null ? 3 : (int) reply.get("statusCode") == 200 ? 0 : 1);
    }

    /** The reply that carries this correlation id; null if there is none in time. */
    private static GenericRecord await(KafkaConsumer<String, GenericRecord> consumer, byte[] correlationId) {
        Instant deadline = Instant.now().plus(PATIENCE);
        while (Instant.now().isBefore(deadline)) {
            for (ConsumerRecord<String, GenericRecord> record : consumer.poll(Duration.ofSeconds(1))) {
                var header = record.headers().lastHeader(CORRELATION_ID);
                if (header != null && Arrays.equals(header.value(), correlationId)) {
                    return record.value();
                }
            }
        }
        return null;
    }
}
